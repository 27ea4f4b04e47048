"""What kind of answer a question wants, and whether a sentence has something of that kind. Pure.

Question words of the languages that `languages` knows. What is new in the sentence counts: a name that the question holds already does not
answer it.
"""

import re
from typing import Literal

Expected = Literal["number", "time", "name", "reason"]

_TIME = (
    r"when|(?:what|which) (?:year|date|day|month|decade|century|era|time)|how long ago",
    r"wann|welche[mns]? (?:jahr|datum|tag)|cuándo|qué (?:año|fecha|día)|quand|quelle (?:année|date)|когда|каком году|متى",
)
_NUMBER = (
    r"how (?:many|much|long|old|far|tall|large|big|high|often|deep|fast|wide)",
    r"what (?:percent|percentage|number|proportion|amount|fraction|share)",
    r"what (?:is|was) the (?:population|number|cost|price|size|limit|maximum|minimum)",
    r"wie ?(?:viele?|lange|alt|weit|hoch|groß|gross|oft|teuer)|cuánt[oa]s?|combien|сколько|كم",
)
_NAME = (
    r"who(?:m|se)?|where|(?:what|which) (?:person|people|king|queen|president|author|scientist|leader|company|organi[sz]ation)",
    r"(?:what|which) (?:city|country|place|location|state|region|river|town|team|group)",
    r"wer|wen|wem|wessen|wo|wohin|woher|quién(?:es)?|dónde|qui|où|кто|кого|кому|где|куда",
)
_REASON = (r"why|warum|wieso|weshalb|por qué|pourquoi|почему|зачем|لماذا",)
_UNDIVIDED: dict[Expected, str] = {
    "time": "什么时候|什麼時候|何时|哪一年|いつ|何年",
    "number": "多少|几个|幾個|多长|多久|いくつ|何人|何個",
    "reason": "为什么|為什麼|なぜ|どうして",
    "name": "谁|誰|哪里|哪裡|だれ|どこ",
}


def _words(*patterns: str) -> str:
    return rf"\b(?:{'|'.join(patterns)})\b"


_WORDS: dict[Expected, tuple[str, ...]] = {"time": _TIME, "number": _NUMBER, "reason": _REASON, "name": _NAME}
_KINDS = {kind: re.compile(f"{_words(*patterns)}|{_UNDIVIDED[kind]}") for kind, patterns in _WORDS.items()}

_DIGITS = re.compile(r"\d[\d.,:]*")
_NUMBER_WORDS = re.compile(
    _words(
        "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred|thousand|million|billion",
        "half|third|quarter|dozen|once|twice|daily|weekly|monthly|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|hundert|tausend",
        "dos|tres|cuatro|cinco|seis|siete|deux|trois|quatre|cinq|six|sept|два|две|три|четыре|пять|шесть|семь",
    )
    + "|[一二三四五六七八九十百千万]"
)
_TIMES = re.compile(
    _words(
        "january|february|march|april|may|june|july|august|september|october|november|december",
        "monday|tuesday|wednesday|thursday|friday|saturday|sunday|century|centuries|decade|today|yesterday",
        "januar|februar|märz|mai|juni|juli|oktober|dezember|jahrhundert|enero|febrero|marzo|abril|mayo|junio|julio|agosto",
        "septiembre|octubre|noviembre|diciembre|siglo|janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre",
        "décembre|siècle|января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря|веке?",
    )
    + "|[年月]"
)
_UNSPACED = frozenset("一二三四五六七八九十百千万年月")
_REASONS = re.compile(
    _words(
        "because|since|due to|therefore|thus|so that|in order|causes?|caused|reasons?|results?|led to|leads to|prevents?|avoid",
        "weil|denn|deshalb|daher|damit|porque|ya que|debido|para que|parce que|car|afin|потому|поэтому|чтобы|из-за|لأن|بسبب",
    )
    + "|因为|因為|所以|ため|から"
)
_CAPITALISED = re.compile(r"(?<![.!?:»\"] )(?<!^)\b[^\W\d_a-zß-öø-ÿа-яё][\w'’.-]+")


def expected(question: str) -> Expected | None:
    """None where it is not one of these."""
    lower = question.casefold()
    return next((kind for kind, pattern in _KINDS.items() if pattern.search(lower)), None)


def gives(kind: Expected | None, question: str, sentence: str) -> bool:
    """Whether the sentence has something of this kind that the question does not."""
    asked = question.casefold()
    match kind:
        case "number" | "time":
            lower = sentence.casefold()
            patterns = (_DIGITS, _NUMBER_WORDS) if kind == "number" else (_DIGITS, _TIMES)
            return any(not _holds(asked, found.group().strip(".,:")) for pattern in patterns for found in pattern.finditer(lower))
        case "name":
            return any(not _holds(asked, found.group().casefold().rstrip(".'’-")) for found in _CAPITALISED.finditer(sentence))
        case "reason":
            return bool(_REASONS.search(sentence.casefold()))
    return False


def _holds(asked: str, part: str) -> bool:
    """Whether `part` stands there by itself: `8` is not in `28`, `one` not in `phone`. What is written without spaces stands anywhere."""
    beside = r"\d" if part[:1].isdigit() else r"\w"
    return part in asked and (part in _UNSPACED or re.search(rf"(?<!{beside}){re.escape(part)}(?!{beside})", asked) is not None)
