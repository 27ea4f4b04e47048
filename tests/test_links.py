"""Links of an answer that stand in no passage are taken out, however they are written and however the answer is cut into pieces."""

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser

from rag_service.citations import CitingStream, cite
from rag_service.generators.declined import may_be_declined
from rag_service.link_syntax import addresses_of, normal, targets_in, trimmed
from rag_service.links import LinkStream, unlinked
from rag_service.record import Delta
from rag_service.types import Chunk, ChunkId, Completion, DocumentId, Hit, Marker, Usage

PASSAGE = (
    "See https://ok.example/a or [the guide](docs/guide.md), www.shop.example, or write to help@ok.example. "
    "![plan](https://ok.example/plan.png) Also `curl https://ok.example/api?x=1`, ok.example/bare and <https://ok.example/auto>."
)


def hit(text: str, title: str = "") -> Hit:
    chunk = Chunk(
        id=ChunkId("c"),
        document_id=DocumentId("d"),
        ordinal=0,
        start=0,
        end=len(text),
        text=text,
        title=title,
        heading_path=(),
        source="d.md",
        page=None,
        embedded_text=text,
        tokens=1,
    )
    return Hit(chunk, 0.5)


HITS = [hit("Nothing here."), hit(PASSAGE)]
ALLOWED = targets_in([PASSAGE])


def completion(text: str, markers: tuple[Marker, ...] | None = None) -> Completion:
    return Completion(text, declined=False, finish_reason="stop", model="m", usage=Usage(None, None), markers=markers)


def left_of(text: str) -> str:
    return unlinked(completion(text), HITS)[0].text


@pytest.mark.parametrize(
    "text",
    [
        "Plain text, with a comma; and (parentheses).",
        "See https://ok.example/a, or (https://ok.example/a).",
        "See [here](https://ok.example/a), [here](http://OK.example/a/) and [here](<https://ok.example/a> 'title').",
        "[guide](docs/guide.md) and ![plan](https://ok.example/plan.png)",
        "www.shop.example, [shop](https://www.shop.example), https://ok.example/bare",
        "<help@ok.example> and [mail](mailto:help@ok.example) and <https://ok.example/auto>",
        '<a href="https://ok.example/a">here</a> and <img src=https://ok.example/plan.png alt="x">',
        "```\ncurl https://ok.example/api?x=1\n```",
        "[text][r]\n\n[r]: https://ok.example/a 'title'",
        "Paris [1]. [2, 3] [x] x[1](2) (a[i])(b) handlers[name](event)",
        "rows[1]: # first\nfor x in rows[2]:\n    print(x / 2)",
        "a < b, a <b and c> d, List<String> x = 5; i<n; i++ && x >= 3; cmd <in >out",
        'Half of a tag <dfn title="without an address',
        "The data: five. Note: this; file:x C:\\\\Users and/or 5/6 e.g. a::b // comment",
        "An e-mail address in plain text (someone@elsewhere.example) and elsewhere.example/x stay, as text.",
        "巴黎在法国[1]。见https://ok.example/a。",
    ],
)
def test_what_stands_in_a_passage_or_is_no_link_stays_to_the_letter(text: str) -> None:
    kept, notices = unlinked(completion(text), HITS)
    assert (kept.text, notices) == (text, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Look at [the page](https://evil.example/?d=1) now.", "Look at the page now."),
        ("![a cat](https://evil.example/c.png?d=1) sits", "a cat sits"),
        ("![](https://evil.example/c.png)", "‹link removed›"),
        ("[x](https://ok.example/a?d=secret)", "x"),
        ("[x](https://ok.example.evil.example/a) [x](https://ok.example@evil.example)", "x x"),
        ("See https://evil.example/x, or www.evil.example!", "See ‹link removed›, or ‹link removed›!"),
        ("(https://evil.example/a_(b)) ftp://evil.example", "(‹link removed›) ‹link removed›"),
        ("//evil.example/x and [x](//evil.example/x) and ![y](//evil/x)", "‹link removed› and x and y"),
        ("<https://evil.example> <someone@evil.example>", "‹link removed› ‹link removed›"),
        ('<a href="https://evil.example">the text</a> <b>bold</b>', "the text <b>bold</b>"),
        ("<a\n href = 'https://evil.example'\n>two words</a>", "two words"),
        ('<img src=//evil/x alt="a cat"> <IMG SRC="/x">', "a cat ‹link removed›"),
        ('<img srcset="https://ok.example/plan.png 1x, https://evil.example 2x">', "‹link removed›"),
        ('<p style="background:url(//evil/x)">a</p>', "‹link removed›a</p>"),
        ("<b onclick=\"location='x'\">a</b>", "‹link removed›a</b>"),
        ('<img alt=">" src=/x> <img b=c=" e=">" src=/x>', '‹img alt=">" src=/x> ‹img b=c=" e=">" src=/x>'),
        ('<img src="/x', '‹img src="/x'),
        ("[t][r]\n\n[r]: https://evil.example 'title'", "[t][r]\n\n[r]: ‹link removed› 'title'"),
        ("[t]\n\n[t]:\n  /x?d=1\n", "[t]\n\n[t]:\n  ‹link removed›"),
        (
            "`curl https://evil.example`\n```\nfetch('https://evil.example')\n```",
            "`curl ‹link removed›`\n```\nfetch('‹link removed›')\n```",
        ),
        ("[x](javascript:alert(1)) javascript:alert(1)", "x ‹link removed›"),
        ("[x](data:text/html;base64,AAAA) data:image/png;base64,AAAA", "x ‹link removed›"),
        ("[x](&#104;ttps://evil.example) [x](java&#10;script:x)", "x x"),
        (
            "https&#58;//evil.example https:&#x2F;&#x2f;evil.example https%3A%2F%2Fevil.example",
            "‹link removed› ‹link removed› ‹link removed›",
        ),
        ("[x](/delete?id=1) [x](../a.md) [x](page.html) [1](#note)", "x x x 1"),
        ("[[a](https://evil.example)](/x) [![b](https://evil.example)](https://evil.example)", "a b"),
        ("[a [b](https://ok.example/a) c](https://evil.example)", "[a [b](https://ok.example/a) c]‹link removed›"),
        ("www[.evil.example](/x) [x]<a href=/y>(/x)", "‹link removed› x"),
        ("[x](  https://evil.example/ \n 'a title' )", "x"),
        ("[x](https://evil.example 'unclosed", "[x] (‹link removed› 'unclosed"),
        ("见https://evil.example/x。还有[页](https://evil.example)更多", "见‹link removed›。还有页更多"),
        (f"[{'long ' * 500}](/x?d=1)", f"[{'long ' * 500}]‹link removed›"),
        ("[a\n\nb](/x?d=1)", "[a\n\nb]‹link removed›"),
    ],
)
def test_what_leads_elsewhere_is_taken_out(text: str, expected: str) -> None:
    kept, notices = unlinked(completion(text), HITS)
    assert kept.text == expected
    [notice] = notices
    assert notice.code == "link_removed"
    assert "evil" not in notice.detail


def test_the_notice_counts_the_links() -> None:
    _, [notice] = unlinked(completion("https://a.example, https://b.example, [c](https://c.example)"), HITS)
    assert notice.detail.startswith("3 links were taken out")


def test_a_target_in_a_title_counts_and_one_in_a_passage_that_was_not_shown_does_not() -> None:
    text = "https://title.example and https://ok.example/a"
    kept, _ = unlinked(completion(text), [hit("Nothing here.", title="https://title.example")])
    assert kept.text == "https://title.example and ‹link removed›"


def test_markers_that_the_generator_gave_stand_where_they_stood() -> None:
    text = "See https://evil.example now. [2] And [1] is quoted. [1]"
    second = text.rindex("[1]")
    given = (Marker(text.index("[2]"), text.index("[2]") + 3, (2,)), Marker(second, second + 3, (1,)))
    kept, notices = unlinked(completion(text, given), HITS)
    assert kept.text == "See ‹link removed› now. [2] And [1] is quoted. [1]"
    assert kept.markers is not None
    assert [kept.text[marker.start : marker.end] for marker in kept.markers] == ["[2]", "[1]"]
    assert kept.markers[1].end == len(kept.text)
    assert len(notices) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HTTP://Ok.Example/A/", "https://ok.example/A"),
        ("www.ok.example", "https://www.ok.example"),
        ("//ok.example/x", "https://ok.example/x"),
        ("https://ok.example/a&amp;b", "https://ok.example/a&b"),
        ("https://ok.example/a\\_b", "https://ok.example/a_b"),
        ("java\tscr\u200bipt:x", "javascript:x"),
    ],
)
def test_spellings_of_one_address_are_one(one: str, other: str) -> None:
    assert normal(one) == normal(other)


@pytest.mark.parametrize(
    ("one", "other"), [("https://ok.example/a%2Fb", "https://ok.example/a/b"), ("https://a%40b.example", "https://a@b.example")]
)
def test_percent_signs_are_not_resolved(one: str, other: str) -> None:
    assert normal(one) != normal(other)


@pytest.mark.parametrize(
    ("text", "address"),
    [("https://a.b/c).", "https://a.b/c"), ("https://a.b/c_(d)", "https://a.b/c_(d)"), ("https://a.b/c)*),", "https://a.b/c"), ("...", "")],
)
def test_punctuation_at_the_end_belongs_to_the_sentence(text: str, address: str) -> None:
    assert trimmed(text) == address


def pieces_of(text: str, cuts: Sequence[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


ATOMS = st.one_of(
    st.sampled_from(
        [
            "[",
            "]",
            "(",
            ")",
            "](",
            "![",
            "]:",
            "][",
            "<",
            ">",
            "<a href=",
            "<img src=",
            "</a>",
            '"',
            "'",
            "=",
            "\\",
            "/",
            "//",
            ":",
            "&",
            ";",
        ]
    ),
    st.sampled_from(
        [
            "https://evil.example/x",
            "https://ok.example/a",
            "evil",
            "www.",
            "www.evil.example",
            "/x?d=1",
            "docs/guide.md",
            "javascript:",
            "&#58;",
        ]
    ),
    st.sampled_from([" ", "\n", "\n\n", "x", "[1]", "`", "```", "中", "。", "alt=", "style=", "a@b.example", "[r]: ", "!", ".", "%2F"]),
    st.text(max_size=3),
)
TEXTS = st.lists(ATOMS, max_size=20).map("".join)
CUTS = st.lists(st.integers(0, 300), max_size=60)


@given(text=TEXTS, cuts=CUTS)
@example(text="<img b=' >' src=/x> [r]:\n /x中[a](/x)中https://evil.example中", cuts=range(60))
@settings(max_examples=400)
def test_however_the_text_is_cut_what_is_left_is_the_same(text: str, cuts: Sequence[int]) -> None:
    whole, piecemeal = LinkStream(HITS), LinkStream(HITS)
    expected = whole.feed(text) + whole.finish()
    assert "".join(piecemeal.feed(piece) for piece in pieces_of(text, cuts)) + piecemeal.finish() == expected
    assert piecemeal.notices() == whole.notices()


def loaded(markdown: str) -> set[str]:
    """What a browser would load or offer to follow, after CommonMark with raw HTML, and GitHub's autolinks in the text."""
    tree = LexborHTMLParser(MarkdownIt("commonmark", {"html": True}).render(markdown))
    found: set[str] = set()
    for node in tree.css("*"):
        attributes = " ".join(f'{name}="{(value or "").replace(chr(34), "&quot;")}"' for name, value in node.attributes.items())
        found.update(addresses_of(re.sub("[<>]", "_", attributes)))
    return found


def autolinked(text: str) -> set[str]:
    """GitHub's extended autolinks (GFM §6.9), as far as the characters of RFC 3986 reach."""
    return {trimmed(found) for found in re.findall(r"(?:https?://|(?<![\w@])www\.(?=\w))[!#-;=?-Z_a-z~%]*", text)}


@given(text=TEXTS)
@example(text="[x]<a href=/y>(/x)")
@example(text="www[.evil.example](/x)")
@example(text="[[[[[[[[[[x](/a/1)](/a/2)](/a/3)](/a/4)](/a/5)](/a/6)](/a/7)](/a/8)](/a/9)](/a/0)")
@example(text="](](www.www.")
@example(text="[x](/y 'a\\' b' ) ![\\](/x)")
@settings(max_examples=1500)
def test_no_renderer_finds_another_link_in_what_is_left(text: str) -> None:
    left = left_of(text)
    for address in loaded(left) | autolinked(left):
        plain = normal(address)
        known = {plain, plain.removeprefix("https://"), plain.removeprefix("mailto:")} & ALLOWED
        assert known or re.fullmatch(r"(?![a-z][a-z0-9+.-]*:)[^/\\?#&]*", plain), (left, address)


@given(text=TEXTS)
@example(text="https://evil.example/x¹www.evil.example")
@settings(max_examples=400)
def test_what_is_left_has_nothing_more_to_take_out(text: str) -> None:
    left = left_of(text)
    assert left_of(left) == left


@given(text=TEXTS, cuts=CUTS)
@settings(max_examples=200)
def test_a_stream_tells_the_answer_that_is_kept(text: str, cuts: Sequence[int]) -> None:
    links, stream = LinkStream(HITS), CitingStream(HITS, may_be_declined)
    events = [event for piece in pieces_of(text, cuts) for event in stream.feed(links.feed(piece))]
    kept, _ = unlinked(completion(text.strip()), HITS)
    whole = cite(kept, HITS)
    events += stream.finish(whole)
    assert "".join(event.text for event in events if isinstance(event, Delta)) == whole.text


def test_plain_text_is_given_word_by_word_and_a_link_when_it_is_decided() -> None:
    stream = LinkStream(HITS)
    pieces = ("It li", "es on", " the [Se", "ine](htt", "ps://evil.example/", ") river", ".")
    assert [stream.feed(piece) for piece in pieces] == ["It ", "lies ", "on the ", "", "", "Seine ", ""]
    assert stream.finish() == "river."


def test_chinese_text_is_given_as_it_comes_also_after_a_marker() -> None:
    stream = LinkStream(HITS)
    assert [stream.feed(piece) for piece in ("巴黎", "在法国[1", "]。更多", "文字")] == ["巴黎", "在法国", "[1]。更多", "文字"]


HOSTILE = [
    "[", "![", "](", "[](", "[x](", "<", "<a ", "<a href=", "<a b='", "<!--", "(", "https://", "://", "//a.b", "www.", "data:", "&#58;",
    "&#", "\\", "[x]:", "[x]: <", "](<", "](a '", '](a "', "](a (", "[a](/x)", "[[", "]]", "<a><", '="', "on", "a", "a.", "%3A", "中",
    "[中", "](  ", "@", "a@",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("between", ["", " ", "\n"], ids=["dense", "spaced", "lines"])
def test_sixty_thousand_characters_made_to_be_slow_are_no_trouble(unit: str, between: str) -> None:
    """A quadratic step takes minutes here."""
    text = (unit + between) * (60_000 // len(unit + between))
    whole, piecemeal = LinkStream(HITS), LinkStream(HITS)
    expected = whole.feed(text) + whole.finish()
    assert "".join(piecemeal.feed(text[start : start + 4]) for start in range(0, len(text), 4)) + piecemeal.finish() == expected


@pytest.mark.parametrize("unit", HOSTILE)
def test_passages_made_to_be_slow_are_no_trouble(unit: str) -> None:
    assert targets_in([unit * (60_000 // len(unit)), "https://ok.example/a"]) >= {"https://ok.example/a"}
