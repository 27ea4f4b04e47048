"""Numbers in a text as values that can be compared: 1,000 and 1.000 and "thousand" meet, and so do 3 May and 2024-05-03. Pure.

A number that is claimed has few values, one in a passage has all that a reader may see in it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_DIGITS = re.compile(
    r"[A-Za-z_][A-Za-z_\d.]*"  # `v1.2` and `h100` are words
    r"|(?P<digits>\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)|\d+(?:[.,'’]\d+)*)"
)
_MAX_CHARS = 40
"""Longer runs of digits are compared as they stand."""
_PERCENT = re.compile(r"\s?(?:[%٪％]|per\s?cent|prozent|pour\s?cent|por\s?ci?ento|per\s?cento|процент)", re.IGNORECASE)
_SCALE = re.compile(r"[\s\u00a0-]?(hundred|thousand|million|millionen|milliarden|billion|trillion|mio|mrd|[kmb]n?)\b\.?", re.IGNORECASE)
_ZEROS = {"hundred": 2, "thousand": 3, "million": 6, "millionen": 6, "milliarden": 9, "billion": 9, "trillion": 12}
_SHORT_ZEROS = {"k": 3, "m": 6, "mn": 6, "mio": 6, "b": 9, "bn": 9, "mrd": 9}
"""Read in passages only: `5 m` may be metres."""

_ENGLISH = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty"""
_ENGLISH_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ENGLISH_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth"
_OTHERS = (
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze",
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce",
    "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici",
    "zero um dois três quatro cinco seis sete oito nove dez onze doze",
    "nul een twee drie vier vijf zes zeven acht negen tien elf twaalf",
    "ноль один два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать",
)
_TENS = {word: 10 * tens for tens, word in enumerate(_ENGLISH_TENS.split(), start=2)}
_UNITS = {word: value for value, word in enumerate(_ENGLISH.split())} | _TENS
_ORDINALS = {word: value for value, word in enumerate(_ENGLISH_ORDINALS.split(), start=1)}
_COUNTS = {"twice": 2, "both": 2, "double": 2, "pair": 2, "couple": 2, "triple": 3, "dozen": 12}
_MONTHS = {
    word: month
    for names in (
        "january february march april may june july august september october november december",
        "jan feb mar apr may jun jul aug sep oct nov dec",
        "januar februar märz april mai juni juli august september oktober november dezember",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    )
    for month, word in enumerate(names.split(), start=1)
}
_NUMBER_WORDS = {word: value for names in _OTHERS for value, word in enumerate(names.split())} | _UNITS
"""Lower case. A word of another language may mean something else in this one (`once`, `due`): never a number that must be found."""
_LARGE = 10**15
"""Words that would make a number larger begin the next."""
_CHINESE = {**{sign: value for value, sign in enumerate("零一二三四五六七八九")}, "〇": 0, "两": 2, "兩": 2}
_CHINESE_TENS = {"十": 10, "百": 100, "千": 1000}
_CHINESE_NUMBER = re.compile(r"[零〇一二两兩三四五六七八九十百千]{1,12}")
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Number:
    """A number that is claimed. `values` are its canonical spellings: more than one where it may be read in several ways."""

    text: str
    values: frozenset[str]
    percent: bool


def claimed_numbers(text: str) -> list[Number]:
    """In digits, and in English words from two on (`one` is a pronoun as often)."""
    found = []
    for match in _digits(text):
        values, end = _values(match[0]), match.end()
        if (scale := _SCALE.match(text, end)) and (zeros := _ZEROS.get(scale[1].lower())):
            values, end = frozenset(_scaled(value, zeros) for value in values), scale.end()
        found.append(Number(text[match.start() : end].strip(), values, _PERCENT.match(text, end) is not None))
    for start, end, value in _spelled(text):
        if value != "1":
            found.append(Number(text[start:end], frozenset((value,)), _PERCENT.match(text, end) is not None))
    return found


def readings(text: str) -> frozenset[str]:
    """Every value that a number of the text may have, in digits, words or as a month."""
    found: set[str] = set()
    for match in _digits(text):
        values = _values(match[0])
        found |= values
        if scale := _SCALE.match(text, match.end()):
            zeros = (_ZEROS | _SHORT_ZEROS)[scale[1].lower()]
            found |= {_scaled(value, zeros) for value in values}
    found |= {value for _, _, value in _spelled(text)}
    for match in _WORD.finditer(text.lower()):
        found |= {str(table[match[0]]) for table in (_NUMBER_WORDS, _ORDINALS, _COUNTS, _MONTHS) if match[0] in table}
    found |= {_chinese(match[0]) for match in _CHINESE_NUMBER.finditer(text)}
    return frozenset(found)


def single_value(word: str) -> str | None:
    """The value of a word, lower case, that is a number in digits or in letters; None for any other, and for `one`, an article."""
    if word in _NUMBER_WORDS:
        return str(_NUMBER_WORDS[word]) if _NUMBER_WORDS[word] != 1 else None
    return min(_values(word)) if word.replace(".", "").isdecimal() else None


def chinese_in_digits(text: str) -> str:
    """The text with digits for numbers of two Chinese characters and more, and blanks around them."""
    return _CHINESE_NUMBER.sub(lambda match: f" {_chinese(match[0])} " if len(match[0]) > 1 else match[0], text)


def month(word: str) -> str | None:
    """The number of the month that a word names."""
    value = _MONTHS.get(word.lower())
    return None if value is None else str(value)


def speaks_of_percent(text: str) -> bool:
    return _PERCENT.search(text) is not None or "百分" in text


def _digits(text: str) -> Iterator[re.Match[str]]:
    return (match for match in _DIGITS.finditer(text) if match["digits"])


def _values(digits: str) -> frozenset[str]:
    """`1,234.5` → 1234.5; `1.234` → 1234 or 1.234; `1.2.3` as it stands."""
    if len(digits) > _MAX_CHARS:
        return frozenset((digits,))
    plain = "".join(str(int(sign)) if sign.isdigit() else sign for sign in digits)
    plain = re.sub("['’ \u00a0\u202f]", "", plain)
    parts = re.split("[.,]", plain)
    marks = re.findall("[.,]", plain)
    grouped = all(len(part) == 3 for part in parts[1:]) and 1 <= len(parts[0]) <= 3
    if not marks:
        return frozenset((_canonical(plain),))
    if len(set(marks)) == 2 and marks[:-1] == [marks[0]] * (len(marks) - 1):
        return frozenset((_canonical("".join(parts[:-1]), parts[-1]),))
    if len(marks) == 1:
        decimal = _canonical(parts[0], parts[1])
        return frozenset((decimal, _canonical("".join(parts)))) if grouped else frozenset((decimal,))
    return frozenset((_canonical("".join(parts)) if grouped else plain,))


def _canonical(whole: str, fraction: str = "") -> str:
    fraction = fraction.rstrip("0")
    whole = whole.lstrip("0") or "0"
    return f"{whole}.{fraction}" if fraction else whole


def _scaled(value: str, zeros: int) -> str:
    whole, _, fraction = value.partition(".")
    return _canonical(whole + fraction[:zeros].ljust(zeros, "0"), fraction[zeros:])


def _spelled(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and value of numbers in English words: `twenty-three`, `two hundred five`, `three million`."""
    start = end = total = current = 0
    for match in _WORD.finditer(text):
        word = match[0].lower()
        value = _UNITS.get(word)
        goes_on = 0 < end >= match.start() - 1 and total + current < _LARGE
        if goes_on and word in _ZEROS:
            current *= 10 ** _ZEROS[word]
            if word != "hundred":
                total, current = total + current, 0
        elif goes_on and value is not None and _fits(current, value):
            current += value
        else:
            if end:
                yield start, end, str(total + current)
            start, end, total, current = match.start(), 0, 0, value or 0
            if value is None:
                continue
        end = match.end()
    if end:
        yield start, end, str(total + current)


def _fits(current: int, value: int) -> bool:
    """`twenty three` is one number, `two three` are two."""
    return current % 100 == 0 or (current % 10 == 0 and current % 100 >= 20 and 0 < value < 10)


def _chinese(signs: str) -> str:
    """`二十三` → 23, `二〇一一` → 2011."""
    if not any(sign in _CHINESE_TENS for sign in signs):
        return str(int("".join(str(_CHINESE[sign]) for sign in signs)))
    total = digit = 0
    for sign in signs:
        if sign in _CHINESE_TENS:
            total += max(digit, 1) * _CHINESE_TENS[sign]
            digit = 0
        else:
            digit = _CHINESE[sign]
    return str(total + digit)
