"""What tests ask of a page's HTML."""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

_LOCAL = re.compile(r"(/(?![/\\])|#)[!-~]*")


def parsed(page: str) -> LexborHTMLParser:
    return LexborHTMLParser(page)


def text_of(node: LexborNode | LexborHTMLParser | None) -> str:
    """Without runs of white space."""
    assert node is not None
    root = node.root if isinstance(node, LexborHTMLParser) else node
    assert root is not None
    return " ".join(root.text(deep=True).split())


def elements(page: str) -> Iterator[LexborNode]:
    yield from parsed(page).css("*")


def check_harmless(page: str) -> None:
    """Nothing in it could run, style itself, or load from elsewhere: the policy would forbid it, and here it is not even tried."""
    scripts = 0
    for element in elements(page):
        attributes = element.attributes
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc")], element.html
        assert element.tag not in ("style", "img", "iframe", "object", "embed", "base", "meta-refresh"), element.html
        if element.tag == "script":
            scripts += 1
            assert (attributes.get("src") or "").startswith("/static/app.js?v=")
            assert text_of(element) == ""
        if element.tag == "meta":
            assert "http-equiv" not in attributes
        for name in ("href", "src", "action", "formaction"):
            value = attributes.get(name)
            assert value is None or (name in attributes and (value == "" or _LOCAL.fullmatch(value))), (element.tag, value)
    assert scripts == 1


def links(page: str) -> set[str]:
    return {link.attributes.get("href") or "" for link in parsed(page).css("a")}
