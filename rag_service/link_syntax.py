"""What a link is, in Markdown, in HTML and bare, and which links a text holds. Pure, and linear in the length of a text.

Wider than any one renderer: what some front end may make a link of counts (CommonMark 0.31 §6.3 to 6.5 and §4.7, GitHub's extended
autolinks, HTML attributes that hold an address). A name without scheme and `www.` (`example.org/x`) is text, as it is for GitHub.
"""

import re
from collections.abc import Iterable
from html import unescape

_COLON = r"(?::|&#0*+58;?|&#[xX]0*+3[aA];?|&colon;|%3[aA])"
_SLASH = r"(?:/|&#0*+47;?|&#[xX]0*+2[fF];?|&sol;|%2[fF])"
_NO_SCHEME_BEFORE = r"(?<![A-Za-z0-9+.\-])"
_STARTS = "|".join(
    (
        rf"{_NO_SCHEME_BEFORE}[A-Za-z0-9+.\-]*+{_COLON}{_SLASH}{_SLASH}",
        rf"{_NO_SCHEME_BEFORE}(?:javascript|vbscript|mailto|tel|blob){_COLON}(?=[^\s])",
        rf"{_NO_SCHEME_BEFORE}file{_COLON}(?={_SLASH})",
        rf"{_NO_SCHEME_BEFORE}data{_COLON}(?=[a-z]++/|[;,])",
        r"(?<![A-Za-z0-9_@])www\.(?=\w)",
        r"(?<![A-Za-z0-9_:/\\.])//(?=[\w-]++(?:\.[\w-]|:\d))",
    )
)
BARE_START = re.compile(_STARTS, re.IGNORECASE)
"""Where an address in plain text begins: with a scheme, `www.` or `//`, as they are or in entities or percent signs."""

BARE = re.compile(rf"(?<!\]\()(?<!\]\(<)(?:{_STARTS})(?:[!#-;=?-Z_a-z~%]|\[[!#-;=?-Z_a-z~%]*+\])*+", re.IGNORECASE)
"""A whole address in plain text, with whatever stands at its end (see `trimmed`). Not one that `](` makes the target of a link."""

DESTINATION = (
    r"\(\s*+(?:<(?P<angled>[^<>\n]*+)>|(?P<plain>(?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*+\))*+))"
    r"(?:\s++(?:\"[^\"]*+\"|'[^']*+'|\([^()]*+\)))?+\s*+\)"
)
INLINE = re.compile(rf"(?P<image>!?)\[(?P<text>(?:[^\[\]\\]|\\.)*+)\]{DESTINATION}", re.DOTALL)
"""`[text](target "title")`, or an image. The text holds no brackets: of nested links the inner one is found."""

DEFINITION = re.compile(r"(?<![A-Za-z0-9_\])])(?P<label>\[(?!\^)(?:[^\[\]\\]|\\.)++\]:\s*+)(?P<target><[^<>\n]*+>|[^\s<>]\S*+)", re.DOTALL)
"""`[label]: target`, wherever it stands but after a word: `rows[1]: # first` is code."""

_VALUE = r"(?:\"(?P<double>[^\"<>]*+)\"|'(?P<single>[^'<>]*+)'|(?P<bare>[^\s\"'=<>`]++))"
_PLAIN_VALUE = re.sub(r"\?P<\w+>", "?:", _VALUE)
ATTRIBUTE = re.compile(rf"(?P<name>[A-Za-z_:@][\w:.@-]*+)(?:\s*+=\s*+{_VALUE})?+")
TAG = re.compile(
    rf"<(?P<closes>/?)(?P<element>[A-Za-z][A-Za-z0-9:-]*+)"
    rf"(?P<attributes>(?:\s++[A-Za-z_:@][\w:.@-]*+(?:\s*+=\s*+{_PLAIN_VALUE})?+)*+)\s*+/?>"
)
"""A well-formed tag without angle brackets in its values. Whatever else begins like one is taken apart, not understood."""
AUTOLINK = re.compile(r"<(?P<target>[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*+|[\w.+-]++@[\w.-]++)>")

_ADDRESSES = frozenset(
    """href src srcset imagesrcset action formaction poster data background cite longdesc profile manifest codebase archive classid usemap
    lowsrc dynsrc ping content style icon xlink:href srcdoc""".split()  # noqa: SIM905 - quoted, they would take ten lines
)
"""Attributes that hold addresses, or text that may."""
ADDRESSED = re.compile(
    r"(?<![\w-])(?:xlink:href|href|src|srcset|imagesrcset|action|formaction|poster|data|background|cite|longdesc|style|ping|srcdoc|on[a-z]+)"
    r"\s*+=",
    re.IGNORECASE,
)
"""In what is no well-formed tag: a sign that a browser may make one of it that loads something."""
QUOTED = re.compile("=[ \t\n\r\f\v]*+[\"']")
"""There too: a value that may hold the end of the tag, so that it is not known where that is."""

_TRAILING = ".,:;!?'*_~"
_TOKEN = re.compile(r"[^\s<>\"'`()\[\]{}|,;]+")
_SCHEME_AND_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:(?://[^/?#]*+)?")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_INVISIBLE = re.compile("[\x00-\x20\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]")
_POINTS_AWAY = re.compile(r"[/\\#?]|\.{1,2}/|www\.|[A-Za-z][A-Za-z0-9+.-]*+:", re.IGNORECASE)
_PARTS = re.compile(r"[?&%\\#]|//|&\w+;|\.[a-z]{2,5}(?:/|$)", re.IGNORECASE)


def trimmed(address: str) -> str:
    """Without the punctuation at its end that belongs to the sentence around it, as GitHub's autolinks end."""
    surplus = address.count(")") - address.count("(")
    while address:
        if address[-1] in _TRAILING:
            address = address.rstrip(_TRAILING)
        elif address[-1] == ")" and surplus > 0:
            address, surplus = address[:-1], surplus - 1
        else:
            break
    return address


def normal(target: str) -> str:
    """One spelling for an address: entities and escapes resolved, scheme and host in lower case, `http` as `https`, no slash at its end.

    Percent signs stay: decoded, they would make one address of two.
    """
    found = _INVISIBLE.sub("", unescape(unescape(target)))
    found = _ESCAPED.sub(r"\1", found)
    if found[:4].lower() == "www.":
        found = f"https://{found}"
    elif found.startswith("//"):
        found = f"https:{found}"
    head = _SCHEME_AND_HOST.match(found)
    if head is not None:
        found = head[0].lower() + found[head.end() :]
    return found.replace("http://", "https://", 1).rstrip("/") if found.startswith("http://") else found.rstrip("/")


def points_away(target: str, *, strictly: bool) -> bool:
    """Whether a target leads anywhere. In code `handlers[name](event)` looks like a link and is none: `strictly` asks for a scheme, a
    path or a query, otherwise anything but a word or a number is enough.
    """
    plain = unescape(target)
    if _POINTS_AWAY.match(plain) or _PARTS.search(plain):
        return True
    return not strictly and re.fullmatch(r"\w*", plain) is None


def addresses_of(attributes: str) -> list[str]:
    """The targets that attributes of a tag name. What may hold several, or code, is given whole: it stands in a passage or it does not."""
    found: list[str] = []
    for attribute in ATTRIBUTE.finditer(attributes):
        name = attribute["name"].lower()
        value = attribute["double"] or attribute["single"] or attribute["bare"] or ""
        if name in _ADDRESSES or name.startswith("on"):
            found.append(value)
    return found


def targets_in(texts: Iterable[str]) -> frozenset[str]:
    """Every address in the texts, and every other run of characters that a link could lead to, in their normal spelling."""
    found: set[str] = set()
    for text in texts:
        found.update(match[0].rstrip(_TRAILING) for match in _TOKEN.finditer(text))
        found.update(trimmed(match[0]) for match in BARE.finditer(text))
        found.update(target_of(match["angled"], match["plain"]) for match in re.finditer(rf"\]{DESTINATION}", text))
        found.update(match["target"].strip("<>") for match in DEFINITION.finditer(text))
        found.update(match["target"] for match in AUTOLINK.finditer(text))
        found.update(address for tag in TAG.finditer(text) for address in addresses_of(tag["attributes"]))
    return frozenset(normal(target) for target in found)


def target_of(angled: str | None, plain: str | None) -> str:
    return angled if angled is not None else plain or ""
