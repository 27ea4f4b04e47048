"""Links taken out of a piece of an answer, whatever they are nested in. Pure."""

import re

from rag_service.link_syntax import (
    ADDRESSED,
    ATTRIBUTE,
    AUTOLINK,
    BARE,
    DEFINITION,
    DESTINATION,
    INLINE,
    QUOTED,
    TAG,
    addresses_of,
    normal,
    points_away,
    target_of,
    trimmed,
)

REMOVED = "‹link removed›"
"""In place of what has no text of its own. No markup of any kind can come of it."""
LONG_CHARS = 2000
"""An open bracket or tag is waited for no longer than this, up to the next white space."""
_ROUNDS = 8
"""What is nested more deeply, or still changes then, was made to get around this, and goes as a whole."""
_OPENER = re.compile(rf"\](?:(?P<whole>{DESTINATION})|\((?P<open>\s*+[^\s\[\]()]*+))", re.DOTALL)
_ANGLE = re.compile(rf"(?P<well>{TAG.pattern})|(?P<auto>{AUTOLINK.pattern})|<(?=/?[A-Za-z])")


class LinkRemover:
    """Takes out of a text what leads elsewhere than to `targets`, until nothing is left. Counts what it took."""

    def __init__(self, targets: frozenset[str]) -> None:
        self._targets = targets
        self.removed = 0
        self._open_anchors = 0
        """Tags `<a>` that were taken out and whose `</a>` is still to come."""

    def __call__(self, text: str) -> str:
        for _ in range(_ROUNDS):
            before = text
            for step in (self._without_inline, self._without_tags, self._without_definitions, self._without_bare):
                text = step(text)
            if text == before:
                return text
        self.removed += 1
        return REMOVED

    def _stays(self, target: str) -> bool:
        found = normal(target)
        bare = found.removeprefix("https://").removeprefix("mailto:")
        return found in self._targets or bare in self._targets

    def _instead(self, text: str = "") -> str:
        self.removed += 1
        return text if text.strip() else REMOVED

    def _without_tags(self, text: str) -> str:
        if "<" not in text:
            return text
        last = max((match.start() for match in ADDRESSED.finditer(text)), default=-1)
        if ">" in text or len(text) > LONG_CHARS:  # a tag that ends with the answer holds nothing more
            last = max(last, max((match.start() for match in QUOTED.finditer(text)), default=-1))

        def instead(match: re.Match[str]) -> str:
            if match["auto"]:
                return (
                    match[0] if self._stays(match["target"] if ":" in match["target"] else f"mailto:{match['target']}") else self._instead()
                )
            if match["well"]:
                return self._tag(match)
            if match.start() > last:
                return "<"
            return self._instead("‹")

        return _ANGLE.sub(instead, text)

    def _tag(self, match: re.Match[str]) -> str:
        addresses, anchor = addresses_of(match["attributes"]), match["element"].lower() == "a"
        if anchor and match["closes"] and self._open_anchors:
            self._open_anchors -= 1
            return ""
        if all(self._stays(address) for address in addresses):
            return match[0]
        named = {found["name"].lower(): found for found in ATTRIBUTE.finditer(match["attributes"])}
        alternative = named.get("alt")
        shown = "" if alternative is None else alternative["double"] or alternative["single"] or alternative["bare"] or ""
        if anchor:
            self.removed += 1
            self._open_anchors += 1
            return ""  # its text follows
        return self._instead(shown)

    def _without_inline(self, text: str) -> str:
        if "](" not in text:
            return text
        for _ in range(_ROUNDS):  # from the inside out
            before, text = text, self._without_inner(text)
            if text == before:
                break
        return _OPENER.sub(self._orphan, text)

    def _without_inner(self, text: str) -> str:

        def instead(match: re.Match[str]) -> str:
            target = target_of(match["angled"], match["plain"])
            subscript = text[max(0, match.start() - 1) : match.start()]
            strictly = not match["image"] and re.match(r"[A-Za-z0-9_\])]", subscript) is not None
            leads = bool(match["image"]) or points_away(target, strictly=strictly)
            return match[0] if not leads or self._stays(target) else self._instead(match["text"])

        return INLINE.sub(instead, text)

    def _orphan(self, match: re.Match[str]) -> str:
        """`](target)` whose beginning is elsewhere, or has a link of its own inside; and what opens and never ends."""
        if match["whole"] is None:
            return f"] ({match['open']}" if points_away(match["open"].strip(), strictly=True) else match[0]
        target = target_of(match["angled"], match["plain"])
        return match[0] if not points_away(target, strictly=True) or self._stays(target) else f"]{self._instead()}"

    def _without_definitions(self, text: str) -> str:
        def instead(match: re.Match[str]) -> str:
            target = match["target"].strip("<>")
            return match[0] if not points_away(target, strictly=True) or self._stays(target) else match["label"] + self._instead()

        return DEFINITION.sub(instead, text) if "]:" in text else text

    def _without_bare(self, text: str) -> str:
        def instead(match: re.Match[str]) -> str:
            target = trimmed(match[0])
            return match[0] if self._stays(target) else self._instead() + match[0][len(target) :]

        return BARE.sub(instead, text)
