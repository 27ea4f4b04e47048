"""Whether a full stop ends a sentence, or an abbreviation, an ordinal number, initials or the mark of a list item. Pure.

By lists and by what stands beside it, in the manner of Punkt (Kiss and Strunk 2006, "Unsupervised Multilingual Sentence Boundary
Detection", §4): after an abbreviation that may end a sentence, a word in capitals that is written small elsewhere begins the next.
"""

import re
from functools import cache

from rag_service.languages import Language, function_words, language_of


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


_INSIDE = _listed(
    "e.g i.e cf c viz v vs approx dr mr mrs ms prof revd gov sen capt sgt lt maj st mt fig figs eq eqs vol vols pp "
    "z.b d.h i.d.r z.t s.o s.u v.a u.u m.e o.g v.chr n.chr bzw ca vgl ggf evtl inkl exkl bspw sog insb hrsg nr abb kap bd dipl ing med "
    "phil hr fr frl p.ej ee sr sra srta dra dña d.a ud uds pág págs núm prov mme mlle mm p.ex c.-à-d "
    "т.е т.к т.н т.ч см ср напр рис стр гл ул просп пер проф акад им тов гр тел кв "
    "د أ م ص ت ج"
)
"""Something always follows. Written without spaces, in small letters."""
_BEFORE_A_NUMBER = _listed(
    "no nos sec sect ch chap p para art ref refs tab cap ver ed rev abs s str teil jan feb mar apr jun jul aug sep sept oct nov dec okt "
    "dez ene abr ago dic janv févr juil déc янв февр апр авг сент окт нояб дек п пп ст ч д"
)
"""Words, or ends of sentences, unless a number follows."""
_EITHER = _listed(
    "inc ltd co corp jr sr bros al dept est univ assn ave blvd ph.d d.c a.d b.c m.d s.a s.l ee.uu gmbh mio mrd mind max min "
    "г гг в вв н.э руб коп тыс млн млрд"
)
"""The end, if the next word is one that begins sentences: `in the U.S. The law …`, but `the U.S. Senate`."""
_RATHER_THE_END = _listed("etc usw usf u.a o.ä u.ä т.д т.п др пр")
"""The end, if a capital follows."""

_TAIL_CHARS = 5
_TAILS = frozenset(
    word[-_TAIL_CHARS:] for listed in (_INSIDE, _BEFORE_A_NUMBER, _EITHER, _RATHER_THE_END) for word in listed if len(word) >= _TAIL_CHARS
)
"""A word of five small letters that ends otherwise is no abbreviation: most sentences end in one, and cost little."""

_BEFORE_AN_ORDINAL = _listed(
    "am der die das dem den des vom im zum zur beim bis und ab seit jeder jede jedes jedem jeden ihr ihre ihrem ihren sein seine seinem "
    "seinen unser unsere unserem unseren mein meine meinem meinen ein kein dieser diese diesem diesen nach vor"
)
"""German: `am 3. Mai`, `der 2. Weltkrieg`."""
_MONTHS = _listed("Januar Jänner Februar März April Mai Juni Juli August September Oktober November Dezember Jahrhundert Jahrhunderts Jh")
_READ_BEFORE_CHARS = 40
_BEFORE = re.compile(
    r"(?:(?P<word>\d{1,2}\.|[^\s.]+)[ \u00a0\u202f])?[\"'“„«»(\[¿¡]*(?P<parts>(?:\b[^\W\d_]{1,2}\.[ \u00a0\u202f]?)*)(?P<last>[\w-]+)\Z"
)
_LIST_MARK = re.compile(r"\s*\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,4})\Z")
_NEXT = re.compile(r"[\s\"'“”‘„«»¿¡(\[*_`–—-]*(?P<word>[^\W_][\w'’]{0,30})?(?P<stop>\.)?")
_ROMAN = re.compile(r"(?!I\Z)[IVXLC]+\Z")
_CASELESS = re.compile("[\u3041-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_CASED: tuple[Language, ...] = ("de", "en", "es", "fr", "ru")
_OPENERS = _listed(
    "however although since while after before because during also another some many most several each both such no not even despite "
    "thus therefore moreover furthermore meanwhile finally later today once "
    "dennoch jedoch danach dabei dort hier heute später zudem seit nachdem obwohl während "
    "además después luego aunque durante entonces cependant ensuite après puis depuis pendant lorsque toutefois "
    "однако затем после поэтому потом позже сейчас теперь тогда кроме"
)
"""Begin sentences often, beside function words."""
_IN_NAMES = _listed("al da de del den der des di dos du el la las le les lo los van von y")
"""Function words, too, where the language is not known: `W. E. B. Du Bois`."""
_READ_AROUND_CHARS = 200


@cache
def _openers(language: Language | None) -> frozenset[str]:
    if language in _CASED:
        return function_words(language) | _OPENERS
    return frozenset[str]().union(*map(function_words, _CASED)) - _IN_NAMES | _OPENERS


def ends_sentence(text: str, begin: int, stop: int, after: int, end: int) -> bool:
    """Whether the full stop at `stop` ends the sentence that begins at `begin`; what follows stands in `text[after:end]`."""
    tail = text[stop - _TAIL_CHARS : stop]
    if stop - begin > _TAIL_CHARS and tail.isalpha() and tail.islower() and tail not in _TAILS:
        return True
    before = _BEFORE.search(text, max(begin, stop - _READ_BEFORE_CHARS), stop)
    following = _NEXT.match(text, after, end)
    if before is None or following is None or (following.end() == end and following["word"] is None):
        return True
    if stop - begin < _READ_BEFORE_CHARS and _LIST_MARK.match(text, begin, stop):
        return False
    word, last = following["word"] or "0", before["last"]  # a sign, such as `+` or `$`, is like a number
    if last.isdigit():
        return not _is_ordinal(before["word"] or "", last, word)
    if word[0].islower() and _ROMAN.match(last) and last.isupper():
        return False  # `Ludwig XIV. von Frankreich`
    capital = word[0].isupper() and not (len(word) == 1 and following["stop"])  # and not the next of some initials
    kind = _kind(before["parts"], last, word)
    if kind is not _EITHER:
        return kind is None or (kind is _RATHER_THE_END and capital)
    around = text[max(begin, stop - _READ_AROUND_CHARS) : min(end, after + _READ_AROUND_CHARS)]
    return capital and word.lower() in _openers(language_of(around))


def _kind(parts: str, last: str, word: str) -> frozenset[str] | None:
    """The list that an abbreviation belongs to. `parts` are the short ones right before `last`, as in `i. d. R`."""
    small = last.lower()
    names = {"".join(f"{parts}{small}".lower().split()), small}
    if names & _INSIDE:
        return _INSIDE
    if small in _BEFORE_A_NUMBER and (word[0].isdigit() or _ROMAN.match(word)):
        return _INSIDE
    if names & _RATHER_THE_END:
        return _RATHER_THE_END
    if names & _EITHER:
        return _EITHER
    if len(last) == 1 and last.isalpha() and not _CASELESS.match(last):
        return _RATHER_THE_END if last.islower() and not parts else _EITHER
    return None


def _is_ordinal(before: str, number: str, word: str) -> bool:
    """German, for numbers of one or two digits; years end sentences."""
    if len(number) > 2:
        return False
    if word in _MONTHS or (before.endswith(".") and word[0].isdigit()):
        return True
    return before.lower() in _BEFORE_AN_ORDINAL and word.lower() not in _openers("de")
