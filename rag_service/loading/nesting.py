"""How deeply HTML nests, found out before it is parsed.

HTML's rules have the parser look through the open elements at nearly every tag, so that a megabyte of `<div>` takes it a minute.
This is a scan for tags in linear time, a guard and not a parser: it errs towards counting too much.
"""

import re

MAX_DEPTH = 2_000
"""Pages that people made stay below 100."""

_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/<>]*)([^<>]*)")

_HOLD_NOTHING = "area base br col embed hr img input link meta param source track wbr"
_CLOSED_BY_THE_NEXT = "a body button dd dt head html li nobr optgroup option p rp rt tbody td tfoot th thead tr"
_NEVER_NEST = frozenset(f"{_HOLD_NOTHING} {_CLOSED_BY_THE_NEXT}".split())
_FOREIGN_TAGS = "svg g defs symbol marker pattern mask clippath lineargradient radialgradient filter math mrow"
_FOREIGN = frozenset(_FOREIGN_TAGS.split())
"""Inside these, `<path/>` closes itself; in HTML proper the slash means nothing."""

_LOOK_BACK = 64
"""Open elements searched for the one that an end tag closes; an end tag that closes none of them is passed over."""


def nests_too_deeply(html: str) -> bool:
    """Whether more than `MAX_DEPTH` elements are open at one time."""
    open_tags: list[str] = []
    for tag in _TAG.finditer(html):
        name = tag[2].lower()
        if name in _NEVER_NEST:
            continue
        if tag[1]:
            _close(open_tags, name)
        elif not (tag[3].endswith("/") and open_tags and open_tags[-1] in _FOREIGN):
            open_tags.append(name)
            if len(open_tags) > MAX_DEPTH:
                return True
    return False


def _close(open_tags: list[str], name: str) -> None:
    for back in range(1, min(_LOOK_BACK, len(open_tags)) + 1):
        if open_tags[-back] == name:
            del open_tags[-back:]
            return
        if open_tags[-back] == "table":  # an end tag inside a table closes nothing around it
            return
