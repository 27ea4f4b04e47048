import base64
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag_service.key_file import create_key
from rag_service.redaction import MASK, findings, redact
from tests.conftest import SHARED_DATA


def found(text: str) -> list[tuple[str, str]]:
    return [(finding.kind, text[finding.start : finding.end]) for finding in findings(text)]


# The examples of keys are put together, so that no scanner of repositories takes them for real ones.
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36"
ANTHROPIC = "sk-" + "ant-api03-Zm9vYmFyYmF6-cXV4_AA"
OPENAI = "sk-" + "proj-T3BlbkFJabcdefghij0123456789"
GITHUB = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpAIBAAKCAQEA1c7+9z5Pad7OejecsQ0b\nu3aZ2w==\n-----END RSA PRIVATE KEY-----"

SECRETS = [
    ANTHROPIC,
    OPENAI,
    GITHUB,
    "gho_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "ghs_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "github_pat_" + "11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz0123456789",
    "glpat-" + "abcDEF123456ghiJKL78",
    AWS,
    "ASIA" + "IOSFODNN7EXAMPLE",
    "AIza" + "SyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
    "xoxb-" + "123456789012-1234567890123-abcDEFghiJKL",
    "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "sk_" + "live_abcdefghijkl0123456789",
    JWT,
    PEM,
]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:12].replace("\n", " "))
@pytest.mark.parametrize(
    "around", ["{}", "the key {} leaked.", "`{}`", "KEY='{}'", '{{"k": "{}"}}', "https://h/?k={}&b=1", "a\\n{}\\n", "__{}", "key.{}"]
)
def test_a_key_is_known_by_its_beginning(secret: str, around: str) -> None:
    text = around.format(secret)
    assert redact(text) == around.format(MASK * len(secret))


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abc.def-123_456~x", "abc.def-123_456~x"),
        ("authorization: bearer 9f86d081", "9f86d081"),
        ("Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l1Q==", "YWxhZGRpbjpvcGVuc2VzYW1l1Q=="),
        ("password=hunter2hunter2", "hunter2hunter2"),
        ("password=correcthorse", "correcthorse"),
        ("DB_PASSWORD=s3cr3t!pw#", "s3cr3t!pw#"),
        ("Password: Tr0ub4dor!3", "Tr0ub4dor!3"),
        ('{\\"password\\": \\"Tr0ub4dor&3\\"}', "Tr0ub4dor&3"),
        ('{"password": "it\'s,(me);"}', "it's,(me);"),
        ("password=correct-horse", "correct-horse"),
        ("api_key: 0123456789abcdef", "0123456789abcdef"),
        ("X-Api-Key: 0123456789abcdef", "0123456789abcdef"),
        ('"apiKey": "correct-horse-battery"', "correct-horse-battery"),
        ("https://example.org/?page=2&token=a1b2c3d4e5&x=1", "a1b2c3d4e5"),
        ("client_secret = 'correcthorse'", "correcthorse"),
        ("**token**: `a1b2c3d4`", "a1b2c3d4"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("postgresql://app:pa55@db:5432/rag", "pa55"),
        ("passwort, ｐａｓｓｗｏｒｄ＝ａｂｃｄ１２３４", "ａｂｃｄ１２３４"),
    ],
)
def test_of_an_assignment_only_the_value_is_masked(text: str, secret: str) -> None:
    assert found(text) == [("key", secret)]


@pytest.mark.parametrize("name", ["password", "PASSWD", "db_pwd", "passphrase", "clientSecret", "access_token", "authorization"])
@pytest.mark.parametrize("assigned", ["{}={}", "{}: {}", "{} = {}", '"{}": "{}"', "'{}': '{}'", '{{\\"{}\\":\\"{}\\"}}', "**{}**: `{}`"])
def test_a_name_says_that_its_value_is_secret(name: str, assigned: str) -> None:
    assert redact(assigned.format(name, "hunter22")) == assigned.format(name, MASK * 8)


@pytest.mark.parametrize("owner", ["api", "access", "secret", "private", "auth", "account"])
@pytest.mark.parametrize("joint", ["", "_", "-", " "])
def test_a_key_is_secret_however_its_name_is_spelled(owner: str, joint: str) -> None:
    for name in (f"{owner}{joint}key", f"{owner}{joint}Key".title(), f"MY_{owner}{joint}key".upper()):
        assert redact(f"{name}: hunter22") == f"{name}: {MASK * 8}"


def test_a_key_of_this_service_keeps_its_id_and_loses_its_secret(tmp_path: Path) -> None:
    key, presented = create_key(tmp_path / "keys.json", name="reader")
    assert redact(f"401 for {presented}!") == f"401 for rag_{key.id}_{MASK * 43}!"


def test_a_block_that_was_cut_off_is_masked_as_far_as_it_goes() -> None:
    cut = PEM[: PEM.index("u3aZ")]
    assert redact(f"see {cut}and more") == f"see {MASK * (len(cut) - 1)}\nand more"
    escaped = PEM[: PEM.index("u3aZ")].replace("\n", "\\n")
    assert findings(f"ValueError('{escaped}')")[0].end >= len("ValueError('") + len(escaped) - 2


@pytest.mark.parametrize(
    "text",
    [
        "the task-management-system-for-2026 and a risk-averse-strategy-of-2020",
        "sk-learn-contrib-and-its-neighbours",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxx and sk-... are placeholders",
        "hf_hub_download_something_or_other",
        "from fastapi.security import HTTPAuthorizationCredentials, OAuth2PasswordRequestForm",
        "Bearer authentication, bearer tokens, and the Bearer scheme of RFC 6750",
        "Authorization: Bearer $TOKEN",
        "password: str = Form()",
        "async def read(token: Annotated[str, Depends(oauth2_scheme)]): ...",
        "hashed_password=fake_hash_password(user_in.password)",
        "password=form_data.password, token=settings.api_token",
        'API_KEY="your-api-key-here"',
        "api_key=os.environ['API_KEY']",
        "password=<your password>, password=${DB_PASSWORD}, token={{ token }}",
        "Token: authentication by tokens is described below.",
        "The secret: practise every day.",
        "max_tokens=100000000",
        "token: short",
        "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "https://example.org:8443/path@v1",
        "-----BEGIN CERTIFICATE-----",
        "rag_0123456789ab is the id of a key",
    ],
)
def test_what_only_speaks_of_keys_is_left(text: str) -> None:
    assert redact(text) is text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("write to jane.doe@example.com.", "jane.doe@example.com"),
        ("<jane+tag@mail.example.co.uk>", "jane+tag@mail.example.co.uk"),
        ("mailto:jane@example.org?subject=x", "jane@example.org"),
        ("'o'brien@example.ie'", "o'brien@example.ie"),
        ("jörg.müller@müller.de", "jörg.müller@müller.de"),
        ("иван@почта.рф", "иван@почта.рф"),
        ("用户@例子.广告", "用户@例子.广告"),
        ("メールはinfo@example.jpまで", "info@example.jp"),
        ("jane＠example．com", "jane＠example．com"),
        ("x@xn--mller-kva.de", "x@xn--mller-kva.de"),
        ("a@b.xn--p1ai", "a@b.xn--p1ai"),
        ("jane@example.com--and", "jane@example.com"),
        ("42@163.com", "42@163.com"),
        ("@jane@social.example", "jane@social.example"),
        ("git@github.com:org/repo", "git@github.com"),  # shaped like one, and may be one
    ],
)
def test_an_address_is_masked_and_nothing_around_it(text: str, address: str) -> None:
    assert found(text) == [("email", address)]


@pytest.mark.parametrize(
    "text",
    [
        "@app.get('/items')",
        "@pytest.fixture",
        "    @router.post(path)",
        "npm i @scope/pkg@1.2.3 lodash@4.17.21 next@15.0.0-rc.next",
        "uses: actions/checkout@v4.1.7",
        "ref@sha256:53aa51172d14",
        "root@localhost and root@10.0.0.1",
        "icon@2x.png",
        "q@k.transpose(1, 2)",
        "5 @ example.com",
        "@ @@ a@ @b a@b a@b. a@.b",
    ],
)
def test_what_only_has_an_at_sign_is_left(text: str) -> None:
    assert redact(text) is text


@pytest.mark.parametrize(
    "number",
    [
        "+49 30 1234567",
        "+49 (0)30 123456-78",
        "+4915112345678",
        "+1 (555) 123-4567",
        "+1-555-123-4567",
        "+1.555.123.4567",
        "+44 20 7946 0958",
        "+33 1 23 45 67 89",
        "+86 138 1234 5678",
        "+358 9 123 456",
        "0049 30 1234567",
        "(030) 1234-5678",
        "030/1234567",
        "0621 - 123456",
        "030-1234567",
        "0171 1234567",
        "020 7946 0958",
        "01 23 45 67 89",
        "01.23.45.67.89",
        "555-123-4567",
        "555.123.4567",
        "(555) 123-4567",
        "1-800-555-1234",
        "090-1234-5678",
        "138-1234-5678",
        "(11) 91234-5678",
        "555-123-4567 ext. 89",
        "+49\u00a030\u20111234567",
        "＋４９ ３０ １２３４５６７",
        "+٩٦٦ ٥٠ ١٢٣ ٤٥٦٧",
    ],
)
@pytest.mark.parametrize("around", ["{}", "call {}, please", "({})", "Tel.: {}.", "a;{}\nb"])
def test_a_phone_number_is_known_by_its_plus_or_its_separators(number: str, around: str) -> None:
    assert redact(around.format(number)) == around.format(MASK * len(number))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("phone: 5551234567", "5551234567"),
        ('"phone_number": "03012345678"', "03012345678"),
        ("Tel. 030 12 34 56 78", "030 12 34 56 78"),
        ("Fax=555 123 4567", "555 123 4567"),
        ("tel:+493012345678", "+493012345678"),
    ],
)
def test_a_word_before_it_makes_digits_a_phone_number(text: str, number: str) -> None:
    assert found(text) == [("phone", number)]


@pytest.mark.parametrize(
    "text",
    [
        "12345678901 and 1 234 567 890 and 1,234,567,890.00",
        "on 2026-11-25, 25.11.2026, 25/11/2026, 01-02-2026 1000 and 20261125",
        "2026-11-25T10:15:30.123456+00:00 to 2026-11-25 10:15:30",
        "+2026-11-25 10:00 was added",
        "version 1.2.3, 10.15.7, 2024.11.25.1 and 1.26.0.dev20261125",
        "192.168.100.200, 10.0.0.1:8000, +192.168.100.200",
        "ISBN 978-3-16-148410-0, ISBN 0-306-40615-2, 9783161484100",
        "GTIN (01)09501101530003",
        "$1,234,567.89, 1.234.567,89 €, +12.5 %, 12 345 678 €",
        "1990-2000, pp. 1234-1245, Nature (2019) 123-1245, 35(12) 1234-1245",
        "550e8400-e29b-41d4-a716-446655440000 and 12345678-1234-1234-1234-123456789012",
        "d41d8cd98f00b204e9800998ecf8427e 53aa51172d142c89",
        "port 8000-8100, 0.0.0.0:65535, error 0x80070005, code 404-500-503",
        "@@ -1234,7 +1234567,9 @@",
        "line 1234567, row 00012345, id 0000-0012-3456",
        "00 01 02 03 04 05 06 07 and 01 23 45 67 89 AB",
        "4111 1111 1111 1111",
        "claude-3-5-sonnet-20241022, gpt-4-0125-preview",
        "arXiv:2401.12345, doi:10.1007/978-3-319-24574-4",
        "0.123-0.4567, 1e+12345678, 12-34-56-78",
        "100 200 3000 4000",
        "mobile 2019-2020, phone: 2026-11-25",
        "UTC+05:30, +0100",
        "https://example.org/030-1234567",
        "١٢٣٤٥٦٧٨٩",
    ],
)
def test_other_numbers_are_left(text: str) -> None:
    assert redact(text) is text


# As the registry of ISO 13616 prints them.
IBANS = [
    "GB82 WEST 1234 5698 7654 32",
    "DE89 3704 0044 0532 0130 00",
    "FR14 2004 1010 0505 0001 3M02 606",
    "NL91 ABNA 0417 1643 00",
    "NO93 8601 1117 947",
    "CH93 0076 2011 6238 5295 7",
    "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
    "BE68 5390 0754 7034",
    "ES91 2100 0418 4502 0005 1332",
    "PL61 1090 1014 0000 0712 1981 2874",
    "SA03 8000 0000 6080 1016 7519",
    "BR18 0036 0305 0000 1000 9795 493C 1",
]


@pytest.mark.parametrize("iban", IBANS)
@pytest.mark.parametrize("around", ["{}", "IBAN: {}.", "from {} to 2 others", "({})", "IBAN={}\n"])
def test_an_iban_is_known_in_groups_in_one_piece_and_in_lower_case(iban: str, around: str) -> None:
    for written in (iban, iban.replace(" ", ""), iban.lower(), iban.replace(" ", "\u00a0"), iban.replace(" ", "-")):
        assert found(around.format(written)) == [("iban", written)]


@pytest.mark.parametrize("iban", IBANS)
def test_an_iban_with_one_digit_changed_is_none(iban: str) -> None:
    for place in (place for place, character in enumerate(iban) if character.isdigit()):
        changed = iban[:place] + str((int(iban[place]) + 1) % 10) + iban[place + 1 :]
        assert "iban" not in [kind for kind, _ in found(changed)]


@pytest.mark.parametrize(
    "text",
    [
        "DE89 3704 0044 0532 0130",  # too short for its country
        "DE89 3704 0044 0532 0130 0012",
        "DE89370400440532013000x",
        "xDE89370400440532013000",
        "AB12 CDEF 3456 7890 1234",
        "de893704004405320130008d41d8cd98f00b204e",
    ],
)
def test_what_only_looks_like_an_iban_is_left(text: str) -> None:
    assert redact(text) is text


def test_an_iban_of_a_country_that_is_not_known_is_checked_by_its_digits() -> None:
    digits = "12345678901234567"
    check = 98 - int(f"{digits}333300") % 97  # X is 33
    assert found(f"to XX{check:02} 1234 5678 9012 3456 7") == [("iban", f"XX{check:02} 1234 5678 9012 3456 7")]
    assert found(f"to XX{check - 1:02} 1234 5678 9012 3456 7") == []


def test_several_kinds_in_one_text_are_found_in_order() -> None:
    text = "Jane <jane@example.com>, +49 30 1234567, DE89 3704 0044 0532 0130 00, token=a1b2c3d4e5, joe@example.com"
    assert [kind for kind, _ in found(text)] == ["email", "phone", "iban", "key", "email"]
    assert redact(text) == f"Jane <{MASK * 16}>, {MASK * 14}, {MASK * 27}, token={MASK * 10}, {MASK * 15}"


def test_text_that_is_not_normalised_is_redacted_too() -> None:
    assert redact("\ud800 jane@example.com \x00") == f"\ud800 {MASK * 16} \x00"


PIECES = [
    *SECRETS,
    *IBANS,
    "a@b.cd",
    "@",
    ".",
    "-",
    "_",
    " ",
    "+",
    "(",
    ")",
    "/",
    "0",
    "1",
    "12",
    "555",
    "4567",
    "030",
    "+49",
    "1234567",
    "DE89",
]
PIECES += [
    "password",
    "=",
    ": ",
    "token",
    "Bearer ",
    "sk-",
    "eyJ",
    "://",
    "rag_",
    "x",
    "é",
    "用",
    MASK,
    "\n",
    "\\",
    '"',
    "１",
    "\u00a0",
    "\u2010",
    "tel",
]
PIECES += ["jane@example.com", "555-123-4567", "+49 30 1234567", "hunter22", "-----BEGIN ", "-----END PRIVATE KEY-----", "12345678", ".com"]
MIXED = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=14).map("".join)


@given(MIXED)
@example("XX12 3456 7890 1234 030/1234567")
@example(f"555-123-4567--{GITHUB}")
@example(f"{PEM}{GITHUB}")
@example("DE89 3704 0044 0532 0130 00-1234567@b.cd")
@example(f"{AWS}\u2010NL91 ABNA 0417 1643 00")
@example(f"4567\u2010{GITHUB} ES91 2100 0418 4502 0005 1332")
def test_a_mask_keeps_every_offset_and_a_second_redaction_finds_nothing_more(text: str) -> None:
    redacted = redact(text)
    assert len(redacted) == len(text)
    assert redact(redacted) is redacted
    position = 0
    for finding in findings(text):
        assert position <= finding.start < finding.end <= len(text)
        assert redacted[position : finding.start] == text[position : finding.start]
        assert redacted[finding.start : finding.end] == MASK * (finding.end - finding.start)
        position = finding.end
    assert redacted[position:] == text[position:]


PLANTED = st.sampled_from([*SECRETS, *IBANS, "jane.doe@example.com", "+49 30 1234567", "(030) 1234-5678"])


@given(st.text(max_size=40), PLANTED, st.text(max_size=40))
def test_what_is_planted_between_other_text_is_gone(before: str, secret: str, after: str) -> None:
    assert secret not in redact(f"{before}\n{secret}\n{after}")


@given(st.binary(min_size=32, max_size=32))
def test_no_secret_of_a_key_of_this_service_is_left(random: bytes) -> None:
    secret = base64.urlsafe_b64encode(random).rstrip(b"=").decode()
    assert redact(f"rag_0123456789ab_{secret}") == "rag_0123456789ab_" + MASK * 43


# 10^5 characters each. The second half of the parts makes every search for bytes succeed, so that the patterns run.
REPEATED = ["a", "@", "a@", "a@b.", "a.bc@", "@a.bb", "x@y.zz ", "é@é.é", "用@", "＠", "1 ", "0 ", "-", "+", "(", "1-", "1.", "01-", "030/"]
REPEATED += ["+49 ", "+1", "(030) ", "555-", "555-123-4567 ", "001 ", "01 23 45 67 ", "tel: 1", "0", "A1", "AA11 ", "DE89 ", "DE893704"]
REPEATED += [f"{IBANS[1]} ", "XX12 3456 7890 1234 ", "eyJ", "eyJ_", "eyJ.", "-eyJ", "eyJaaaaaaaaaaaaaaaa.", "eyJaaaaaaaaaaaaaaaa.b.", "_"]
REPEATED += ["sk-", "sk-1", "_sk-", "\\nsk-", "-ghp_", "AKIA", "-AIza", "rag_", "rag_0123456789ab_", "-----BEGIN ", PEM[:31], PEM[:50]]
REPEATED += ["password=", "password=x ", "password: secret1234 ", "secret=token=", 'token="', "Bearer ", "Bearer a."]
REPEATED += ["://", "://a:", "://a:b@", "=", ":", "= ", "a" * 16 + " ", MASK, "a\n", "\u00a0", "x" * 63 + "."]
EVERYTHING = f" {GITHUB} password=hunter22 x@y.zz https:// bearer tel: 12345678 {PEM}"


def _cpu_s(text: str) -> float:
    """The best of three."""
    took: list[float] = []
    for _ in range(3):
        started = time.thread_time()
        redact(text)
        took.append(time.thread_time() - started)
    return min(took)


@pytest.mark.parametrize("end", ["", EVERYTHING], ids=["alone", "with_one_of_each"])
@pytest.mark.parametrize("part", REPEATED, ids=lambda part: part[:24].strip())
def test_no_text_takes_more_than_linear_time(part: str, end: str) -> None:
    once, twice = (part * (chars // len(part)) + end for chars in (100_000, 200_000))
    took_s = _cpu_s(once)
    assert took_s < 0.1 or any(_cpu_s(once) < 0.1 for _ in range(4))  # a busy machine slows the processor down
    assert took_s < 0.01 or any(_cpu_s(twice) < 3 * _cpu_s(once) for _ in range(5))


def test_documentation_speaks_of_secrets_without_being_masked() -> None:
    folder = SHARED_DATA / "fastapi-docs" / "docs"
    if not folder.is_dir():
        pytest.skip(f"{folder.parent.name} is not beside the project")
    masked = {part for path in folder.rglob("*.md") for part in found(path.read_text(encoding="utf-8"))}
    assert {value for kind, value in masked if kind != "key"} == {"john.doe@example.com", "johndoe@example.com", "deadpool@example.com"}
    assert [value[:3] for kind, value in masked if kind == "key"] == ["eyJ"]  # the example of a JSON Web Token
