"""Secrets and personal data in a text, found by their form: keys, e-mail addresses, phone numbers, IBANs. Pure.

A mask is as long as what it hides, so every offset into the text stays valid. Time is linear in the length of the text: a pattern
is entered at few places, what it repeats is bounded or cannot be split in two ways, and what may fail late only starts where a run
of characters does. Texts that hold nothing of the kind, nearly all, are recognised by searches for bytes.

Full-width forms, Arabic and Persian digits, and in numbers typographic dashes and spaces, are read as their ASCII counterparts,
one for one: NFC (see `normalise`) leaves them as they are. Masked characters count as letters, so that a second redaction finds
nothing more.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

Kind = Literal["key", "email", "phone", "iban"]
Span = tuple[int, int]
MASK = "█"


@dataclass(frozen=True, slots=True)
class Finding:
    """Character offsets, end exclusive."""

    kind: Kind
    start: int
    end: int


def findings(text: str) -> tuple[Finding, ...]:
    """Ascending, not overlapping. Of a `password=…`, a `Bearer …` and a key of this service only the secret part counts."""
    found: list[Finding] = []
    view = _view(text)
    for kind, find in _FINDERS:
        spans = find(view)
        if spans:
            found += [Finding(kind, start, end) for start, end in spans]
            view = _view(_masked(view.text, spans))  # so that nothing is found twice
    return tuple(sorted(found, key=lambda finding: finding.start))


def redact(text: str) -> str:
    """As long as `text`, every finding masked; `text` itself where there is none. Idempotent."""
    found = findings(text)
    return _masked(text, [(finding.start, finding.end) for finding in found]) if found else text


class _View(NamedTuple):
    """One text in two spellings. What is cheap to search in bytes decides whether a pattern is worth its time."""

    text: str
    """As long as what was given, with ASCII for full-width forms, and for Arabic and Persian digits."""
    squeezed: bytes
    """ASCII alone, in lower case, without what stands within a number or around a name; digits are `0`, and `:` is `=`."""


_MANY_DIGITS = b"0" * 8
"""In `squeezed`. No phone number or IBAN has fewer in a row."""
_ASCII_FORMS = {chr(point + 0xFEE0): chr(point) for point in range(0x21, 0x7F)} | {
    chr(zero + digit): str(digit) for zero in (0x660, 0x6F0) for digit in range(10)
}
_HAS_ASCII_FORM = re.compile("[\u0660-\u0669\u06f0-\u06f9\uff01-\uff5e]")
_FIRST_BYTES = (b"\xd9", b"\xdb", b"\xef")
"""Of what has an ASCII form, in UTF-8."""
_SPACE_OR_DASH = re.compile("[\u00a0\u2009\u202f\u3000\u2010-\u2013\u2212]")
_SQUEEZE = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ:123456789", b"abcdefghijklmnopqrstuvwxyz=000000000")
_SQUEEZED_OUT = b" \t.-/()'\"`*\\" + bytes(range(0x80, 0x100))


def _view(text: str) -> _View:
    utf8 = text.encode("utf-8", "surrogatepass")
    if len(utf8) > len(text) and any(first in utf8 for first in _FIRST_BYTES):
        text = _HAS_ASCII_FORM.sub(lambda match: _ASCII_FORMS[match[0]], text)
        utf8 = text.encode("utf-8", "surrogatepass")
    return _View(text, utf8.translate(_SQUEEZE, _SQUEEZED_OUT))


def _plainly_spaced(text: str) -> str:
    """As long as `text`. It takes some time, and matters within numbers alone."""
    return text if text.isascii() else _SPACE_OR_DASH.sub(lambda match: " " if match[0].isspace() else "-", text)


def _masked(text: str, spans: Sequence[Span]) -> str:
    parts, position = [], 0
    for start, end in spans:
        parts += [text[position:start], MASK * (end - start)]
        position = end
    return "".join((*parts, text[position:]))


_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BLOCK_END = re.compile(r"-----END [A-Z0-9 ]{0,60}-----")
_KEY_BLOCK_LINES = re.compile(r"(?:(?:\s|\\[nr]){0,4}[A-Za-z0-9+/=]{20,}+)*+")  # of a block that was cut off


def _key_blocks(view: _View) -> list[Span]:
    spans: list[Span] = []
    for begin in _KEY_BLOCK.finditer(view.text) if "-----BEGIN " in view.text else ():
        if not spans or begin.start() >= spans[-1][1]:
            end = _KEY_BLOCK_END.search(view.text, begin.end(), begin.end() + 8_192) or _KEY_BLOCK_LINES.match(view.text, begin.end())
            spans.append((begin.start(), (end or begin).end()))
    return spans


_RUNS = bytes(120 if re.match(rb"[\w.-]", bytes([byte])) else 32 for byte in range(256))
_LONG_RUN = b"x" * 16
_TOKEN = re.compile(
    r"""(?:(?<![\w█-])|(?<=\\[nrt]))[-_]*+(?:                   # what may be long before it fails only starts a run
          (eyJ[\w-]{12,}+\.[\w-]{8,}+(?:\.[\w-]*+){0,3})        # JSON Web Tokens, signed or encrypted
        | ((?:sk|xai|pplx|tvly)-(?=[a-zA-Z_-]*+\d)[\w-]{13,}))  # OpenAI, Anthropic, xAI and others
      | (?:(?<![A-Za-z0-9█])|(?<=\\[nrt]))(?:
          rag_[0-9a-f]{12}_([\w-]{16,})                         # this service; the id is no secret
        | ([srp]k_(?:live|test)_\w{8,} | whsec_\w{10,}          # Stripe
          | gh[opsur]_\w{12,} | github_pat_\w{5,} | glpat-[\w-]{10,}
          | A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9█]) | AIza[\w-]{30,}  # AWS, Google
          | xox[abeoprs]-[\w-]{11,} | xapp-[\w-]{11,}           # Slack
          | (?:hf|gsk|npm)_(?=[A-Za-z0-9]{20})\w+ | pypi-AgE[\w-]{10,} | lsv2_\w{11,} | dop_v1_[0-9a-f]{10,}))""",
    re.VERBOSE | re.ASCII,
)
_BEGINNINGS = (
    *("eyJ", "sk-", "xai-", "pplx-", "tvly-", "rag_", "_live_", "_test_", "whsec_", "ghp_", "gho_", "ghs_", "ghu_", "ghr_", "glpat-"),
    *("github_pat_", "AKIA", "ASIA", "AIza", "xox", "xapp-", "hf_", "gsk_", "npm_", "pypi-AgE", "lsv2_", "dop_v1_"),
)


def _tokens(view: _View) -> list[Span]:
    """Keys by the beginnings that their makers gave them: all are in runs of at least 16 letters, digits, `_`, `-` and `.`."""
    runs, places = view.text.encode("ascii", "replace").translate(_RUNS) + b" ", list[Span]()
    start = runs.find(_LONG_RUN)
    while start >= 0:
        places.append((start, runs.find(b" ", start)))
        start = runs.find(_LONG_RUN, places[-1][1])
    long = " ".join([view.text[start:end] for start, end in places])
    if not any(beginning in long for beginning in _BEGINNINGS):
        return []
    return [token.span(token.lastindex or 0) for start, end in places for token in _TOKEN.finditer(view.text, start, end)]


_URL_PASSWORD = re.compile(r"://[^\s/:@█]{0,64}:([^\s/@<>{}$█]{3,256})@")
_BEARER = re.compile(r"[bB](?i:earer)[ \t]{1,3}(?=[A-Za-z._~+/=-]{0,200}+\d)([\w.~+/=-]{8,})", re.ASCII)
_MAY_ASSIGN = re.compile(
    rb"=(?:(?<=word=)|(?<=sswd=)|(?<=pwd=)|(?<=phrase=)|(?<=secret=)|(?<=token=)"
    rb"|(?<=apikey=)|(?<=[is_]_key=)|(?<=[ehst]key=)|(?<=[ehst]_key=)|(?<=authorization=))"
)
_SIGN = re.compile(r"[=:](?<=[deknstyDEKNSTY\"'`* \t].)(?=[ \t]{0,3}[^\s=:])")
_ASSIGNING = (
    *("password", "passwd", "pwd", "passphrase", "secret", "token", "authorization"),
    *(f"{owner}{joint}key" for owner in ("api", "access", "secret", "private", "auth", "account") for joint in ("", "_", "-", " ")),
)
_VALUE = re.compile(
    r"""(?P<sign>[:=][ \t]{0,3})(?:(?i:basic|token)[ \t])?
    (?:(?P<quote>\\?["'`])(?P<quoted>(?:(?!(?P=quote))[^\s█]){8,})|(?P<bare>[^\s"'`<>(){}\[\],;&|\\█]{8,}))(?P<after>(?P=quote)|[(\[]?)""",
    re.VERBOSE,
)
_NAMES_ITSELF = re.compile(r"(?i)pass|token|secret|key|auth|example|your|x{4}|\*{3}|\.{3}")


def _assigned(view: _View) -> list[Span]:
    spans: list[Span] = []
    position = 0
    for sign in _SIGN.finditer(view.text) if _MAY_ASSIGN.search(view.squeezed) else ():
        at = sign.start()
        named = view.text[max(0, at - 24) : at].rstrip(" \t\"'`*\\").lower().endswith(_ASSIGNING)
        if at >= position and named and (match := _VALUE.match(view.text, at)):
            value = match.span("quoted" if match["quote"] else "bare")
            position = value[1]
            if _is_secret(match):
                spans.append(value)
    return spans


def _is_secret(match: re.Match[str]) -> bool:
    """Rather than code, a placeholder or a word: it has a digit, is quoted as a whole, or stands directly after `=`."""
    quote, value, after = match["quote"], match["quoted"] or match["bare"], match["after"]
    if after in ("(", "[") or value[0] in "$%/<{" or value.startswith("http") or (quote and after != quote):
        return False
    if any(character.isdigit() for character in value):
        return True
    is_name = not value.isalpha() and value.replace(".", "_").isidentifier()
    return not _NAMES_ITSELF.search(value) and (quote is not None or (match["sign"] == "=" and not is_name))


_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f\uac00-\ud7af"
"""Scripts in which the words around an address may touch it. They belong to it only where it is written in them."""
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_LOCAL_CHAR, _SPACED_LOCAL_CHAR = re.compile(r"[\w.+%&~'-]"), re.compile(rf"[^\W{_UNSPACED}]|[.+%&~'-]")


def _domain(other: str) -> str:
    """At least two labels, of letters and digits but for `other`; a name, not a version, a file, or the call of a method."""
    alphanumeric, letter = rf"[^\W_{other}]", rf"[^\W\d_{other}]"
    label = rf"{alphanumeric}(?:[^\W{other}]|-){{0,62}}+"
    return (
        rf"(?!v?\d{{1,9}}\.\d)(?!\d(?:\.\d)?x\.)(?:{label}\.){{1,8}}"
        rf"(?:xn--[A-Za-z0-9-]{{1,59}}|{letter}{{2,24}})(?!{alphanumeric}|[(\[█])"
    )


_EMAIL = re.compile(rf"@(?<=[\w+%-]@)(?:{_domain(_UNSPACED)}|(?=[{_UNSPACED}]){_domain('')})")


def _emails(view: _View) -> list[Span]:
    spans: list[Span] = []
    for match in _EMAIL.finditer(view.text):
        start = _local_part(view.text, spans[-1][1] if spans else 0, match.start())
        if start < match.start():
            spans.append((start, match.end()))
    return spans


def _local_part(text: str, floor: int, at: int) -> int:
    """Where it starts that ends at `at`. All such parts together are no longer than the text: none holds an `@`."""
    allowed = _LOCAL_CHAR if _IS_UNSPACED.match(text, at - 1) else _SPACED_LOCAL_CHAR
    start = at
    while start > floor and allowed.match(text, start - 1):
        start -= 1
    return at - len(text[start:at].lstrip(".-%&~'"))


_IBAN_CHARS = {
    country: length for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST",
        26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV", 29: "BR EG PS QA UA",
        30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items() for country in countries.split()
}  # fmt: skip
"""ISO 13616 registry: length by country."""
_IBAN_START = re.compile(r"[0-9](?<=[A-Za-z]{2}[0-9])(?<![\w█][A-Za-z]{2}[0-9])[0-9]")
_OTHER_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?(?![ ]?[A-Za-z0-9█])")
_IBAN_VALUES = {ord(letter): str(int(letter, 36)) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


@cache
def _iban_of(chars: int) -> re.Pattern[str]:
    return re.compile(rf"[A-Za-z]{{2}}[0-9]{{2}}(?:[ -]?[A-Za-z0-9]){{{chars - 4}}}(?![\w█])")


def _ibans(view: _View) -> list[Span]:
    spans: list[Span] = []
    text = _plainly_spaced(view.text) if _MANY_DIGITS in view.squeezed else ""
    for match in _IBAN_START.finditer(text):
        start = match.start() - 2
        chars = _IBAN_CHARS.get(text[start : start + 2].upper())
        whole = (_iban_of(chars) if chars else _OTHER_IBAN).match(text, start)
        if whole and (not spans or start >= spans[-1][1]) and _checks_out(whole[0]):
            spans.append(whole.span())
    return spans


def _checks_out(iban: str) -> bool:
    """ISO 7064, MOD 97-10."""
    compact = iban.replace(" ", "").replace("-", "").upper()
    return 15 <= len(compact) <= 34 and int((compact[4:] + compact[:4]).translate(_IBAN_VALUES)) % 97 == 1


_PHONE = re.compile(
    r"""[+(0-9](?<![\w█./+#$€£@%-].)(?<![\d█][,:].)(?:
        (?<=\+)(?!(?:19|20)\d\d[-./]\d\d?[-./]\d|\d{1,3}(?:\.\d{1,3}){3}(?!\d))     # international; no date or address of a diff
          (?:1[ .\-/(]{0,2}[2-9](?:[ .\-/()]{0,3}\d){9} | 7[ .\-/(]{0,2}[3-9](?:[ .\-/()]{0,3}\d){9} | [2-689](?:[ .\-/()]{0,3}\d){7,14})
      | (?<=\()(?:0[1-9]\d{0,4}\)[ -]?\d(?:[ -]?\d){4,9} | [2-9]\d\d\)[ -]?\d{3}[ .-]\d{4} | [1-9]\d\)[ ]?9\d{4}-\d{4})
      | (?<=0)(?!\d[-/ ]\d\d?[-/ ]\d{2,4}(?!\d))(?=(?:[ /-]{0,3}\d){8})             # area code, then no date
          [1-9]\d{0,4}(?:[ ]?/[ ]?|(?:-|[ ]-[ ])(?=[1-9]))\d(?:[ -]?\d){4,9}
      | (?<=0)(?<![\d█][ .-].)(?:                                                   # not within a row of numbers
            0(?=[1-9]\d{0,2}[ \-/])[1-9](?:[ .\-/()]{0,3}\d){7,14}                  # international by 00
          | (?=(?:[ ]?\d){9})[1-9]\d{1,4}[ ][1-9]\d\d(?:[ ]?\d){3,6}
          | [1-9]([ .-])\d\d(?:\1\d\d){3}(?!\1?[\dA-F█][\dA-Fa-f█]))                # pairs, as in France
      | (?<=[2-9])\d\d([.-])\d{3}\2\d{4}                                            # North America
      | (?<=1)([.-])[2-9]\d\d\3\d{3}\3\d{4} | (?<=1)[3-9]\d-\d{4}-\d{4}
    )(?:[ ]?(?:x|ext\.?)[ ]?\d{1,6})?(?![\w█])(?![.,:/-][\d█])""",
    re.VERBOSE,
)
_CUED_PHONE = re.compile(  # digits that only the word before them makes a phone number
    r"""[pPtTfFmM](?<![A-Za-z].)(?i:(?<=p)hone|(?<=t)el(?:ephone|efon)?|(?<=f)ax|(?<=m)obile?)
    (?i:[ _-]?(?:number|nummer|no|nr))?["'`*.]{0,3}[ ]?[:=.][*]{0,2}[ ]?["'`]?
    (?!(?:19|20)\d\d[-./]\d\d?[-./]\d)(\(?\d(?:[ .\-/()]{0,2}\d){7,14})(?![\w█])(?![.,:/-][\d█])""",
    re.VERBOSE,
)


def _every(pattern: re.Pattern[str], needle: bytes, group: int = 0) -> Callable[[_View], list[Span]]:
    """A finder of what the pattern finds, in texts whose squeezed form has the needle."""
    return lambda view: [match.span(group) for match in pattern.finditer(_plainly_spaced(view.text))] if needle in view.squeezed else []


_FINDERS: tuple[tuple[Kind, Callable[[_View], list[Span]]], ...] = (
    ("key", _key_blocks),
    ("key", _tokens),
    ("key", _every(_URL_PASSWORD, b"@", 1)),
    ("key", _every(_BEARER, b"bearer", 1)),
    ("key", _assigned),
    ("email", _emails),
    ("iban", _ibans),
    ("phone", _every(_PHONE, _MANY_DIGITS)),
    ("phone", _every(_CUED_PHONE, _MANY_DIGITS, 1)),
)
"""In this order: what a former one has found, a later one does not see."""
