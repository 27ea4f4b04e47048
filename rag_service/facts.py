"""What of a sentence can be right or wrong by itself: names, quoted words, negations. Pure, and linear in the text.

Word lists are short and of several languages; in a language without any, what is left is the comparison of words in `wording`.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from rag_service.numerals import month
from rag_service.sentences import stem, words

_WORD = re.compile(r"\w+(?:[.'’-]\w+)*")
_BEGINS = re.compile(r"[.!?…:;(\[\"“„«‚‘'*_>|–—-]\s*\Z")
"""Before a word: what makes its capital letter a matter of its place."""
_ACRONYM = re.compile(r"[A-Z][A-Z\d]*[A-Z]\d*s?\Z")
_INNER_CAPITAL = re.compile(r"[a-z][A-Z]")
_QUOTED = re.compile(
    r"\"([^\"\n]{1,400})\"|“([^“”\n]{1,400})”|„([^„“”\n]{1,400})[“”]|«([^«»\n]{1,400})»|「([^「」\n]{1,400})」|`([^`\n]{1,200})`"
)
_GERMAN = frozenset("auch auf das die ein eine einen für im ist mit nicht sich sind und von werden wird zu".split())  # noqa: SIM905
_GERMAN_SHARE = 0.05
"""Far less than German prose has of these words; other languages share one of them with it (`die`, `das`, `mit`), hardly two."""

STOP_WORDS = frozenset(
    """a about after all also am an and any are as at be because been before being both but by can could did do does during each for
    from had has have he her here him his how i if in into is it its just may me might more most must my no nor not now of off on only
    or other our out over own same she should so some such than that the their them then there these they this those through to too
    under until up us very was we well were what when where which while who whom whose why will with would yes you your
    d ll m re s t ve actually absolutely definitely even ever got indeed know let lot lots maybe oh ok okay perhaps please really sure
    thank thanks think yeah yep yet
    der die das den dem des ein eine einen einem einer und oder ist sind war im zu mit auf für von nicht auch es er sie wird werden
    le la les un une des du de et ou est sont dans en pour par sur avec qui que ne pas il elle ce cette au aux
    el los las y o es son del al por para con se su una lo como más
    il lo gli di che è per non uno della dei
    os um uma não em no na da dos
    het een van en is zijn op te dat voor met niet
    и в на не с что по как это для из к у за от но а""".split()  # noqa: SIM905 - as in the generator: a line each would take four hundred
)
"""Lower case. They carry little of what a sentence claims."""
_SPEAKERS = {
    word: person
    for person, group in (
        ("I", "i i'm i've i'd i'll im me my mine myself ich mein meine je j'ai moi mon yo mi io eu я мне 我 私"),
        ("we", "we we're we've we'd we'll us our ours wir unser unsere nous notre nosotros nuestro noi nostro nós wij мы"),
    )
    for word in group.split()
}
_NEGATORS = frozenset(
    """not no never none nobody nothing neither nor cannot cant dont doesnt isnt nicht kein keine keinen keinem keiner nie niemals
    ne pas jamais aucun aucune nunca ningún ninguna jamás não nem nessun nessuna niet geen nooit не нет нельзя никогда""".split()  # noqa: SIM905
)
_WITHOUT = frozenset("without ohne sans sin sem senza zonder без".split())  # noqa: SIM905
"""They deny what follows, but a sentence with one of them is no denial."""
_NEGATING_SIGNS = ("不", "没", "沒", "無", "无", "非", "않", "없", "못")
_CLAUSE = re.compile(r"[,;:.!?()，、；。！？]|\b(?:but|and|aber|und|mais|et|pero|y|ma|maar|en|но|и)\b", re.IGNORECASE)
_NEGATIVE_FORM = re.compile(
    r"\b(?:un|non)\w{4}|\w{3}(?:less|los)\b|\b(?:except|only|fail|lack|refus|prevent|forb|prohib|exclud|miss|without)"
)
"""What says no without a negator: `unused`, `endless`, `fails`."""
_ANSWERS_NO = re.compile(r"\W*(?:no|nein|non|nee|nej|não|нет)\b\s*(?:[,.!;:–—-]|but\b|aber\b|mais\b|pero\b)", re.IGNORECASE)
"""It answers the question and denies nothing of what follows."""
_PASSED_OVER = frozenset("longer always necessarily mehr immer plus más mais più meer больше".split())  # noqa: SIM905
"""Between a negator and what it denies: `no longer`, `nicht mehr`."""
_DENIED_SIGNS = 4
"""Characters after a negator, where a character counts as a word, that it is taken to deny; elsewhere it is one word."""


def names(text: str) -> list[tuple[str, ...]]:
    """Runs of capitalised words that do not begin the sentence, and acronyms; a run that begins it, if it has several words.

    None in a text that capitalises most of its words.
    """
    text = text.replace("’", "'")
    matches = list(_WORD.finditer(text))
    capital = [_is_capital(match[0]) for match in matches]
    if len(matches) >= 4 and sum(capital) > 0.6 * len(matches):
        return []
    found: list[tuple[str, ...]] = []
    run: list[str] = []
    begins = False
    for index, match in enumerate(matches):
        first = index == 0 or _BEGINS.search(text, max(0, match.start() - 4), match.start()) is not None
        joined = bool(run) and text[matches[index - 1].end() : match.start()].strip() == "" and not first
        if not (capital[index] and joined):
            _close(found, run, begins)
            run, begins = [], first
        if capital[index] and not (first and match[0].lower() in STOP_WORDS):
            run.append(match[0])
    _close(found, run, begins)
    return found


def is_named(word: str, known: frozenset[str], spelled: frozenset[str], numbers: frozenset[str]) -> bool:
    """Whether the stems `known`, the `initials` or the `readings` of a text hold this word of a name. `The` need not be named."""
    if word.lower() in STOP_WORDS and not is_acronym(word):
        return True
    plain = _plain(word.replace("’", "'").lower())
    parts = [stem(part) for part in words(plain.replace("-", " "))]
    return all(part in known for part in parts) or word.rstrip("s").upper() in spelled or (month(word) or "") in numbers


def is_german(text: str) -> bool:
    """Whether it seems to be in the one large language that gives every noun a capital, so that a capital does not mark a name."""
    found = words(text)
    german = [word for word in found if word in _GERMAN]
    return len(set(german)) > 1 and len(german) > _GERMAN_SHARE * len(found)


def is_acronym(word: str) -> bool:
    """`NASA`, `HTTP2`, `iPhone`, `McDonald`: in no language an ordinary noun."""
    return _ACRONYM.match(word) is not None or _INNER_CAPITAL.search(word) is not None


def initials(text: str) -> set[str]:
    """What the first letters of two to six words in a row spell, in capitals: `NASA` of its full name."""
    firsts = "".join(word[0] for word in words(text) if word not in ("of", "the", "and", "for", "de", "des", "der")).upper()
    return {firsts[start : start + length] for length in range(2, 7) for start in range(len(firsts) - length + 1)}


def quotes(text: str) -> list[str]:
    """What stands in quotation marks, of two words and more, and in back quotes."""
    found = []
    for match in _QUOTED.finditer(text):
        quoted = next(part for part in match.groups() if part is not None)
        if len(words(quoted)) > 1 or (match[6] is not None and words(quoted)):
            found.append(quoted)
    return found


def speakers(text: str) -> frozenset[str]:
    """`I` and `we`, where the text speaks as one: `I think`, `unsere`."""
    return frozenset(_SPEAKERS[word] for word in words(text.replace("’", "'")) if word in _SPEAKERS)


def is_question(text: str) -> bool:
    return text.rstrip(" \"'”’)»*_").endswith(("?", "？", "؟"))


def denies(text: str) -> bool:
    """Whether a negator stands in it, other than a `No,` that answers the question."""
    answer = _ANSWERS_NO.match(text)
    return any(_negates(word) for word in words(text[answer.end() if answer else 0 :].replace("’", "'")))


def denies_in_some_form(text: str) -> bool:
    """With a negator or without: `unused`, `fails`."""
    return denies(text) or _NEGATIVE_FORM.search(text.lower()) is not None


def denied(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """The stems that the text denies, and those that it says; one that it does both with is in both.

    A negator denies the next content word of its clause; the last before it, where none follows (German `nicht` may end a clause).
    """
    no: set[str] = set()
    yes: set[str] = set()
    answer = _ANSWERS_NO.match(text)
    position = answer.end() if answer else 0
    for end in [*(match.start() for match in _CLAUSE.finditer(text, position)), len(text)]:
        clause = [_plain(word) for word in words(text[position:end].replace("’", "'"))]
        position = end
        reached = set(_reached(clause))
        for index, word in enumerate(clause):
            if _is_content(word):
                (no if index in reached else yes).add(stem(word))
    return frozenset(no), frozenset(yes)


def _reached(clause: Sequence[str]) -> Iterator[int]:
    content = [index for index, word in enumerate(clause) if _is_content(word)]
    for index, word in enumerate(clause):
        if _negates(word) or word in _WITHOUT:
            following = bisect_right(content, index)
            near = content[following : following + _DENIED_SIGNS] or content[max(0, following - 1) : following]
            yield from near if all(len(clause[place]) == 1 for place in near) else near[:1]


def _negates(word: str) -> bool:
    return word in _NEGATORS or word.endswith("n't") or word.startswith(_NEGATING_SIGNS)


def _is_content(word: str) -> bool:
    return word not in STOP_WORDS and word not in _PASSED_OVER and word not in _WITHOUT and not _negates(word)


def _plain(word: str) -> str:
    return word.removesuffix("'s")


def _is_capital(word: str) -> bool:
    return (word[0].isupper() and word not in ("I", "A") and "'" not in word[:2]) or is_acronym(word)


def _close(found: list[tuple[str, ...]], run: Sequence[str], begins: bool) -> None:
    if run and (len(run) > 1 or not begins or is_acronym(run[0])):
        found.append(tuple(run))
