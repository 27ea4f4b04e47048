"""English words in one form before they are stemmed: irregular forms as their base, British spellings as American ones. Pure.

The Snowball stemmer knows endings only, so that `written` and `write`, or `colour` and `color`, would never meet. A form that is as often
another word (`found`, `rose`, `left`) is left as it is.
"""

import re

_FORMS = """
    arise arose arisen|begin began begun|break broke broken|bring brought|build built|buy bought|catch caught|choose chose chosen|come came
    deal dealt|draw drew drawn|drink drank drunk|drive drove driven|eat ate eaten|fall fell fallen|feed fed|feel felt|fight fought|flee fled
    fly flew flown|forbid forbade forbidden|forget forgot forgotten|forgive forgave forgiven|freeze froze frozen|get got gotten
    give gave given|go went gone goes|grow grew grown|hang hung|hear heard|hide hid hidden|hold held|keep kept|know knew known|lay laid
    lead led|lend lent|lose lost|make made|mean meant|meet met|overcome overcame|pay paid|prove proven|ride rode ridden|run ran|say said
    see saw seen|seek sought|sell sold|send sent|shake shook shaken|show shown|shrink shrank shrunk|sing sang sung|sink sank sunk|sit sat
    sleep slept|speak spoke spoken|spend spent|stand stood|steal stole stolen|stick stuck|strike struck|swear swore sworn
    swim swam swum|take took taken|teach taught|tell told|think thought|throw threw thrown|undertake undertook undertaken
    understand understood|uphold upheld|wake woke woken|wear wore worn|weave wove woven|win won|withdraw withdrew withdrawn
    withhold withheld|write wrote written
    analysis analyses|bacterium bacteria|child children|criterion criteria|foot feet|hypothesis hypotheses|index indices indexes|man men
    matrix matrices|mouse mice|phenomenon phenomena|thesis theses|tooth teeth|vertex vertices|wife wives|woman women
    defense defence|fiber fibre|gray grey|license licence|liter litre|meter metre|offense offence|program programme
    practice practise|skeptical sceptical
"""
"""A base and its forms. After https://en.wiktionary.org/wiki/Appendix:English_irregular_verbs, those that documents are full of."""
_BASES = {
    form: base for line in _FORMS.split("\n") for base, *forms in map(str.split, filter(str.strip, line.split("|"))) for form in forms
}

_LEAST_RESPELLED_CHARS = 6
"""`hour`, `rise` and `tour` are spelled so everywhere. A longer word that is as well (`promise`) only becomes another, always the same."""
_RESPELLED = (
    (re.compile(r"(?<=\w\w)is(?=(?:e[sdr]?|ers|ing|ations?|ational)\Z)"), "iz"),
    (re.compile(r"(?<=\wl)ys(?=(?:e[sdr]?|ers|ing)\Z)"), "yz"),
    (re.compile(r"(?<=\w\w\w)our(?=(?:s|ed|ing|al|ally|able|ful|less|ites?)?\Z)"), "or"),
    (re.compile(r"(?<=\w\w)tre(?=s?\Z)"), "ter"),
    (re.compile(r"(?<=\wi)bre(?=s?\Z)"), "ber"),
    (re.compile(r"(?<=\w)logue(?=s?\Z)"), "log"),
    (re.compile(r"\A(cancel|channel|fuel|label|level|model|panel|signal|travel|tunnel)l(?=(?:ed|ing|ers?)\Z)"), r"\1"),
)


def regular(word: str) -> str:
    """Of a word in lower case, without accents: the base of an irregular form, in American spelling."""
    word = _BASES.get(word, word)
    if len(word) >= _LEAST_RESPELLED_CHARS:
        for pattern, respelled in _RESPELLED:
            word = pattern.sub(respelled, word)
    return word
