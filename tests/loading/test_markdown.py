import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag_service.loading import load
from rag_service.loading.markdown import load_markdown
from rag_service.normalise import document_text
from rag_service.types import Document
from tests.loading.inspection import DATA, assert_blocks_are_sound, assert_blocks_cover, documents, pieces

PAGE = """---
title: "The: Guide"
weight: 3
draft: false
rating: 4.5
date: 2024-01-31
tags: [a, b]
nested:
  inner: 1
---
# Path `Parameters` { #path-parameters }

First paragraph
on two lines.

[ref]: https://example.com

- one

  more of one
- two

## With <a href="x">link</a>, *stress* and [text][ref] {: .cls }

| a | b |
|---|---|
| 1 | 2 |

> quoted

```python
# not a heading

x = 1
```

    indented code

***

Setext
------

<div>raw</div>
"""


def markdown(text: str, source: str = "folder/page.md") -> Document:
    (item,) = load_markdown(text.encode(), source)
    assert isinstance(item, Document)
    return item


def test_every_block_is_found_at_its_place() -> None:
    document = markdown(PAGE)
    assert document.text == document_text(PAGE)
    assert pieces(document) == [
        ("heading", "# Path `Parameters` { #path-parameters }"),
        ("paragraph", "First paragraph\non two lines."),
        ("paragraph", "[ref]: https://example.com"),
        ("list", "- one\n\n  more of one\n- two"),
        ("heading", '## With <a href="x">link</a>, *stress* and [text][ref] {: .cls }'),
        ("table", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("paragraph", "> quoted"),
        ("code", "```python\n# not a heading\n\nx = 1\n```"),
        ("code", "    indented code"),
        ("paragraph", "***"),
        ("heading", "Setext\n------"),
        ("paragraph", "<div>raw</div>"),
    ]
    headings = [(block.level, block.title) for block in document.blocks if block.kind == "heading"]
    assert headings == [(1, "Path Parameters"), (2, "With link, stress and text"), (2, "Setext")]


def test_front_matter_gives_the_title_and_its_scalars_become_metadata() -> None:
    document = markdown(PAGE)
    assert document.title == "The: Guide"
    assert document.metadata == {"weight": 3, "draft": False, "rating": 4.5, "date": "2024-01-31"}


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("## Second\n\n# First *one*", "First one"),
        ("## Only second", "page"),
        ("no heading", "page"),
        ("# ![logo](x.png) Name &amp; more", "logo Name & more"),
        ("# The set {a, b}", "The set {a, b}"),
        ("# Use `{#id}`", "Use {#id}"),
        ("#", "page"),
    ],
)
def test_the_title_is_the_first_heading_of_level_one_else_the_stem(text: str, title: str) -> None:
    assert markdown(text).title == title


def test_text_between_two_rules_at_the_top_is_not_taken_for_front_matter() -> None:
    document = markdown("---\nNot a field, but a sentence.\n---\n\nMore.")
    assert_blocks_cover(document)
    assert document.metadata == {}


def test_the_admonitions_of_other_dialects_are_read_as_paragraphs() -> None:
    assert [kind for kind, _ in pieces(markdown("/// tip\n\nInside.\n\n///"))] == ["paragraph"] * 3


def test_nesting_a_hundred_thousand_deep_is_read_without_recursion() -> None:
    assert_blocks_cover(markdown(">" * 100_000 + " x"))
    assert_blocks_cover(markdown("- " * 50_000 + "x"))


MARKUP = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "# h",
                "## h { #a }",
                "---",
                "***",
                "- a",
                "  b",
                "1. x",
                "```",
                "~~~",
                "    c",
                "> q",
                "|a|b|",
                "|-|-|",
                "",
                "<div>",
            ]
        ),
        st.sampled_from(["[r]: /u", "[r]: /u 'open", "===", "+++", "<!--", "-->", "\t", "title: x", "<p>", "\u00a0", "...", "`a", "* * *"]),
        st.text(max_size=8),
    ),
    max_size=14,
).map("\n".join)


@given(MARKUP)
@example("---\n\n---\nx")
@example("---\nx: 1\n...\ny")
@example("- a\n\n\n\n    b\n\nc")
def test_blocks_are_in_order_and_hold_everything_visible(text: str) -> None:
    for item in load_markdown(text.encode("utf-8", "replace"), "x.md"):
        if isinstance(item, Document):
            assert_blocks_are_sound(item)
            front = _front_matter_end(item.text) if item.blocks[0].start else 0
            assert_blocks_cover(item, front)


def _front_matter_end(text: str) -> int:
    """Offset after the line that closes the front matter, or 0 if the text does not begin with one."""
    if not text.startswith("---"):
        return 0
    opening = len(text) - len(text.lstrip("-"))
    end = text.find("\n") + 1
    for line in text[end:].split("\n"):
        end += len(line) + 1
        closes = line.rstrip() == "..." or (line.strip().startswith("-" * opening) and not line.strip().strip("-"))
        if closes and not line.startswith(("    ", "\t")):
            return min(end, len(text))
    return 0


@pytest.mark.skipif(not (DATA / "fastapi-docs").is_dir(), reason="the FastAPI documentation is not beside the project")
def test_the_fastapi_documentation_loads_whole() -> None:
    items = list(load(DATA / "fastapi-docs" / "docs"))
    pages = {document.id: document for document in documents(items)}
    assert len(pages) == len(items) == 154
    assert pages["tutorial/path-params.md"].title == "Path Parameters"
    assert pages["index.md"].title == "FastAPI"
    headings = [block.title for page in pages.values() for block in page.blocks if block.kind == "heading"]
    assert len(headings) > 1_000
    assert not [title for title in headings if "{ #" in title or "</" in title or "`" in title]
    for page in pages.values():
        assert_blocks_are_sound(page)
        assert_blocks_cover(page, _front_matter_end(page.text))
