"""A follow-up turned into a query that can be searched for alone, by rule. Pure, and for English: a question in another language is
changed only when it is a fragment of one or two words.

Only what the user asked is used: an answer may hold anything.
"""

import re
from collections.abc import Sequence

from rag_service.sentences import stem, words
from rag_service.types import Turn


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


_INTERROGATIVES = _listed("who whom whose what which when where why how")
_AUXILIARIES = _listed(
    "is are was were be been am do does did have has had can could should would will shall may might must "
    "isn aren wasn weren don doesn didn haven hasn hadn couldn shouldn wouldn won"
)
_PREPOSITIONS = _listed("for in on at by from to with without about into over under after before during since until via per as than like")
_PRONOUNS = _listed("it its they them their theirs he him his she her hers")
_FUNCTION_WORDS = (
    _INTERROGATIVES
    | _AUXILIARIES
    | _PREPOSITIONS
    | _PRONOUNS
    | _listed(
        "a an the and or but so then of between up down out off back away together along if while because whether that being doing done "
        "having i me my mine we us our you your this these those there here one ones not no yes any some all each every both either "
        "neither only just very too also again still already ever much many more most less please now ok okay well hi hello hey thanks "
        "thank really exactly maybe same other others another else instead otherwise such ain shan mustn t s re ll ve d m"
    )
)
_CHATTER = _listed("hi hello hey thanks thank you ok okay great good nice cool perfect yes no sure please bye much very so")
# Words that ask something of a subject and do not name it: `What is the limit?` leans, `What is the limit of a request?` does not.
_VAGUE = frozenset(
    stem(word)
    for word in _listed(
        "default limit maximum minimum max min price cost deadline difference reason advantage disadvantage benefit drawback step option "
        "requirement exception example procedure process consequence alternative size format value name result rule detail condition "
        "purpose syntax meaning source evidence explanation summary case way thing work happen mean change apply need use set get find "
        "see go know say tell show give make take try want start stop begin end enable disable configure explain elaborate continue "
        "expand describe summarise summarize list compare decide approve pay expire differ help matter count long short often far big "
        "large small high low fast slow quick better best worse worst faster slower cheaper easier safer possible allowed mandatory "
        "optional required free sure true correct first second third last next previous new old different longer bit further above "
        "below specific simple simpler word sentence"
    )
)
_OPENING = re.compile(
    r"(?:and|but|or|plus|also|then|what about|how about|same|the same|why not|how so|how come|for example|such as|like what)\b"
    r"(?!,? (?:who|what|which|when|where|how|why) \w+ \w+ \w+ \w+ \w+ \w+)"
)
_ANAPHORIC = re.compile(
    r"\b(?:which|this|that|other|another|first|second|third|last|next|newer|older|new|old|default|same|right) ones?\b(?! (?:of|hundred))"
    r"|\bthe (?:former|latter|others|rest|above)\b(?! of)|\bthe other(?: \w+)?$"
    r"|\binstead$|\binstead of (?:it|that|this|them)\b|\botherwise$|(?<!^)\b(?:too|as well|either|again)$"
    r"|\b(?:what|anything|who|anyone|where|somewhere|nothing) else$"
    r"|\b(?:tell me|show me|say|explain|know|any) more$|\bmore (?:about )?(?:details?|examples?|information)$"
    r"|(?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bwere )(?<!\bbe )(?<!\bdoes )(?<!\bdo )(?<!\bcan )(?<!\bwill )\bthere$"
    r"|^(?:is|are|do|does|can|could|should|will|would) (?:i |we |you )?also\b"
)
# `What is it called when …`, `How long does it take to …`: what it stands for follows.
_EXPLETIVE = re.compile(
    r"\bit (?:\w+ly )?(?:called|termed|named|known|possible|impossible|necessary|required|allowed|permitted|okay|ok|safe|legal|illegal|"
    r"better|best|easy|easier|hard|harder|difficult|important|common|true|good|bad|wrong|enough|said|thought|believed|take|takes|took|"
    r"cost|costs|matter|mean|make sense|that|who)\b(?:.*\b(?:to|that|when|if|for|who)\b)? \w+ \w+"
)
_BEFORE_POINTING = _AUXILIARIES | _PREPOSITIONS | {"", "of", "and", "but"}
_AFTER_RELATIVE = _listed("who whom which that of whose with in")
_SUBJECTS = _listed("i we you they he she it")
_BEFORE_VERB = _SUBJECTS | _listed("who to not can could should would will must may might don doesn didn please")

_LONG_WORDS = 12
_LONG_CHARS = 500
"""A question with more words that mean something, or more characters, explains itself."""
_SUBJECT_CHARS = 400
"""Of the earlier questions: an encoder reads some thousand characters and cuts the end, where the question stands."""

_TURN_SHARE = 4
_NAMES = {"user": "User", "assistant": "Assistant"}

_THOUGHTS = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_LABEL = re.compile(
    r"\A[\s*_#>-]*(?:(?:the|last|standalone|rewritten|rephrased|reformulated|new|final|search) )*(?:question|query|message)"
    r"\s*[*_]*:[\s*_]*",
    re.IGNORECASE,
)
_QUOTES = ('""', "''", "``", "“”", "„“", "‘’", "«»", "「」", "**", "__")
_REFUSAL = re.compile(
    r"(?:i['’]?m |i am )?(?:very )?(?:sorry|unable)\b|as an ai\b|unfortunately\b|no[ _-]?answer\b"
    r"|(?:i|the (?:\w+ )?(?:passages?|documents?|context|conversation|history|message)) "
    r"(?:can(?:no|['’])t|can not|could(?:n['’]t| not)|do(?:es)?(?:n['’]t| not)|won['’]t|will not)\b.*[^?]\Z",
    re.IGNORECASE,
)


def standalone(question: str, history: Sequence[Turn], *, max_chars: int) -> str:
    """`question`, after the earlier questions that it leans on. One that stands alone comes back unchanged.

    Folded from the start of the conversation, so that a follow-up of a follow-up reaches what both are about. At most `max_chars`
    characters, unless the question alone has more, and at most 400 more than the question: the oldest words are left out first.
    """
    if _is_chatter(question) or not leans(question):
        return question
    subject: list[str] = []
    for turn in history:
        if turn.role == "user" and not _is_chatter(turn.content):
            if not leans(turn.content):
                subject.clear()
            subject.append(" ".join(turn.content.split()))
    earlier = " ".join(subject)
    room = min(max_chars - len(question) - 1, _SUBJECT_CHARS)
    if len(earlier) > room:
        earlier = earlier[-room:].partition(" ")[2] if room > 0 else ""
    return f"{earlier} {question}" if earlier else question


def leans(question: str) -> bool:
    """Whether a question cannot be understood without what was said before it."""
    text = " ".join(question.casefold().replace("’", "'").split()).rstrip(" ?!.…")
    if len(text) > _LONG_CHARS:
        return False
    tokens = [word.partition("'")[0] for word in words(text)]
    names = frozenset(name.casefold() for name in re.findall(r"(?!^)\b[A-Z]\w+", question))
    content = [token for token in tokens if token not in _FUNCTION_WORDS]
    if len(content) > _LONG_WORDS:
        return False
    return (
        all(stem(token) in _VAGUE for token in content)
        or (len(content) <= 2 and (_AUXILIARIES | _SUBJECTS).isdisjoint(tokens) and _is_fragment(question, tokens))
        or _OPENING.match(text) is not None
        or _ANAPHORIC.search(text) is not None
        or _refers_back(text, tokens, names)
    )


def render_history(history: Sequence[Turn], *, max_chars: int) -> str:
    """The conversation for a prompt, one line for each message, oldest first; at most `max_chars` characters.

    One message takes a quarter of that at most, and the oldest are left out. Line breaks become spaces, so that no message can
    pretend to be two.
    """
    share = max(max_chars // _TURN_SHARE, 1)
    lines: list[str] = []
    room = max_chars
    for turn in reversed(history):
        line = _cut(f"{_NAMES[turn.role]}: {' '.join(turn.content.split())}", share)
        if len(line) > room:
            break
        lines.append(line)
        room -= len(line) + 1
    return "\n".join(reversed(lines))


def usable_rewrite(text: str, *, max_chars: int) -> str | None:
    """The question that a language model wrote, without quotes and label around it.

    None for what cannot be searched for: nothing, several lines, more than `max_chars` characters, NO_ANSWER, or a refusal.
    """
    found = _LABEL.sub("", _THOUGHTS.sub("", text).strip(), count=1).strip()
    while len(found) > 1 and any(found.startswith(pair[0]) and found.endswith(pair[1]) for pair in _QUOTES):
        found = found[1:-1].strip()
    if not found or len(found) > max_chars or len(found.splitlines()) > 1 or not words(found):
        return None
    return None if _REFUSAL.match(found) else found


def _is_chatter(text: str) -> bool:
    return _CHATTER.issuperset(words(text))


def _is_fragment(question: str, tokens: Sequence[str]) -> bool:
    """`For part-timers?`, `Which departments?`; without a question mark it is more likely a search by keywords."""
    if tokens[0] in _INTERROGATIVES:
        return len(tokens) == 2
    return question.rstrip().endswith("?") or tokens[0] in _PREPOSITIONS


def _refers_back(text: str, tokens: Sequence[str], names: frozenset[str]) -> bool:
    """Whether a pronoun stands where nothing before it in the question can be what it means."""
    antecedent = False
    for before, token, after in zip(("", *tokens), tokens, (*tokens[1:], ""), strict=False):
        if token in _PRONOUNS and not antecedent and not (token == "it" and _EXPLETIVE.search(text)):
            return True
        if token in ("this", "these") and not antecedent and ":" not in text:
            return True
        if token in ("that", "those") and before in _BEFORE_POINTING and after not in _AFTER_RELATIVE and not (antecedent and after):
            return True
        verb = before in _BEFORE_VERB and token not in names
        antecedent = antecedent or (token not in _FUNCTION_WORDS and stem(token) not in _VAGUE and not verb)
    return False


def _cut(line: str, max_chars: int) -> str:
    return line if len(line) <= max_chars else f"{line[: max_chars - 1].rstrip()}…"
