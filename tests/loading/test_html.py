import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.errors import Unreadable
from rag_service.loading.html import load_html
from rag_service.normalise import document_text
from rag_service.types import Document
from tests.loading.inspection import assert_blocks_are_sound, assert_blocks_cover, pieces

PAGE = """<!doctype html><html><head><title>Fish &amp; Chips</title><style>p { color: red }</style></head><body>
<nav><a href="/">Home</a></nav>
loose <b>bold</b> text<br>next line
<h1>The <i>big</i>
 one</h1>
<div>outer<p>inner &lt;tag&gt;,   spaced</p>tail</div>
<pre>
def f():
    return  1
</pre>
<ul><li>one<ul><li>deeper</li></ul></li><li><p>two</p><pre>a
  b</pre></li></ul>
<ol><li>first<li>second</ol>
<table><caption>Prices</caption><tr><th>item<th>price<tr><td>cod<td><p>4</p><p>5</p></table>
<h3>Sub</h3><script>alert("no")</script><noscript>no</noscript><template>no</template>
</body></html>"""


def html(page: str, source: str = "pages/menu.html") -> Document:
    (item,) = load_html(page.encode(), source)
    assert isinstance(item, Document)
    return item


def test_a_page_reads_as_its_visible_blocks() -> None:
    document = html(PAGE)
    assert pieces(document) == [
        ("paragraph", "loose bold text\nnext line"),
        ("heading", "The big one"),
        ("paragraph", "outer"),
        ("paragraph", "inner <tag>, spaced"),
        ("paragraph", "tail"),
        ("code", "def f():\n    return  1"),
        ("list", "- one\n  - deeper\n- two\n  a\n    b"),
        ("list", "1. first\n2. second"),
        ("table", "Prices\nitem | price\ncod | 4 5"),
        ("heading", "Sub"),
    ]
    assert [(block.level, block.title) for block in document.blocks if block.kind == "heading"] == [
        (1, "The big one"),
        (3, "Sub"),
    ]
    assert document.title == "Fish & Chips"
    assert document.text == document_text(document.text)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<h2>no</h2><h1>Yes</h1>", "Yes"),
        ("<p>text", "menu"),
        ("<title> </title><p>text", "menu"),
        ("<svg><title>no</title></svg>x", "menu"),
    ],
)
def test_the_title_falls_back_to_the_first_heading_and_then_to_the_stem(page: str, title: str) -> None:
    assert html(page).title == title


def test_invisible_characters_written_as_entities_are_removed() -> None:
    assert html("<p>in&shy;vis&#x200B;ible&#xE0041;</p>").text == "invisible"


def test_a_page_in_the_encoding_it_declares_is_read_in_it() -> None:
    (document,) = load_html('<meta charset="windows-1251"><p>Привет'.encode("cp1251"), "x.html")
    assert isinstance(document, Document)
    assert document.text == "Привет"


def test_a_page_that_declares_one_encoding_and_is_utf_8_is_read_as_utf_8() -> None:
    assert html('<meta charset="windows-1251"><p>Привет').text == "Привет"


def test_a_deep_page_is_walked_without_recursion() -> None:
    assert html("<div>" * 1_900 + "x").text == "x"


@pytest.mark.parametrize("opening", ["<div>", "<b><p>", "<x>", "<ul><li>", "<div><table></div></table>"])
def test_a_page_nested_absurdly_is_refused_before_it_costs_quadratic_time(opening: str) -> None:
    started = time.process_time()
    with pytest.raises(Unreadable, match="nest"):
        list(load_html((opening * 500_000).encode(), "x.html"))
    assert time.process_time() - started < 5


@pytest.mark.parametrize("sibling", ["<p>x", "<br>", "<li>x", "<p><a name=x>y", "<div><span>x</div>", "<svg><path/><g><path/></g></svg>"])
def test_many_siblings_are_not_taken_for_deep_nesting(sibling: str) -> None:
    assert html("start" + sibling * 3_000).text.startswith("start")


TAGS = "p div h1 h2 pre ul ol li table tr td th caption b br section blockquote script svg menu".split()  # noqa: SIM905
SOUP = st.lists(
    st.one_of(
        st.sampled_from([f"<{tag}>" for tag in TAGS]),
        st.sampled_from([f"</{tag}>" for tag in TAGS]),
        st.text(max_size=6),
        st.sampled_from(["x", " ", "\n", "&nbsp;", "<!-- c -->", "&#x301;", "&amp"]),
    ),
    max_size=30,
).map("".join)


@given(SOUP)
def test_any_soup_of_tags_gives_blocks_in_order_that_hold_the_whole_text(page: str) -> None:
    for item in load_html(page.encode("utf-8", "replace"), "x.html"):
        if isinstance(item, Document):
            assert_blocks_are_sound(item)
            assert_blocks_cover(item)
            assert item.text == document_text(item.text)
