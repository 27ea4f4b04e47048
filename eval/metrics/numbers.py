"""Numbers, amounts and dates of a reference found in an answer, strictly: to the SQuAD script −5 and 5, 1.5 and 15, 10 % and 10 are equal.

What digits may mean is read by the service's own `numerals`: 1,000 and 1.000 and "thousand" meet. Signs, currencies and dates are read
here. Pure, and linear in the length of the text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eval.scores import Undefined, Value
from rag_service.numerals import Number, claimed_numbers, month

_CURRENCIES = {
    sign: code
    for code, signs in (
        ("USD", "$ us$ usd dollar dollars"),
        ("EUR", "€ eur euro euros"),
        ("GBP", "£ gbp"),
        ("JPY", "¥ jpy yen"),
        ("INR", "₹ inr"),
        ("RUB", "₽ rub"),
        ("CHF", "chf"),
        ("CNY", "cny"),
    )
    for sign in signs.split()
}
_SIGNS_OF_MONEY = r"(?:US)?\$|[€£¥₹₽]"
_CODES_OF_MONEY = r"(?:USD|EUR|GBP|JPY|INR|RUB|CHF|CNY)\b"
_BEFORE = re.compile(
    rf"(?P<sign>(?<![\w)\]%.,])(?:[-–](?!\s)|−\s?)|\b(?:minus|negative)\s+)?(?P<money>{_SIGNS_OF_MONEY}|\b{_CODES_OF_MONEY})?\s?\Z",
    re.IGNORECASE,
)
_LOOKED_AT_BEFORE_CHARS = 16
_AFTER = re.compile(rf"\s?(?P<money>{_SIGNS_OF_MONEY}|{_CODES_OF_MONEY}|(?:dollars?|euros?|yen)\b)", re.IGNORECASE)
_SHORT_SCALE = re.compile(r"(?:(?P<million>mn?|mio)|(?P<billion>bn?|mrd)|(?P<thousand>k))\b", re.IGNORECASE)
"""Read after a sign of money alone: `5 m` may be metres."""

_YEAR = r"(?P<year>\d{4})(?!\d)"
_DAY = r"(?P<day>\d{1,2})(?!\d)"
_NAME = r"(?P<name>[^\W\d_]{3,10})\.?"
_DATES = (
    re.compile(r"(?<![\d.,/])(?P<first>\d{1,2})(?P<mark>[/.])(?P<second>\d{1,2})(?P=mark)(?P<year>\d{4})(?![\d/])"),
    re.compile(rf"(?<![\d.,-]){_YEAR}[-/](?P<month>\d{{1,2}})[-/]{_DAY}(?![-/\d])"),
    re.compile(rf"(?<!\d){_YEAR}年(?P<month>\d{{1,2}})月(?:{_DAY}日)?"),
    re.compile(rf"(?<![\d.,]){_DAY}(?:st|nd|rd|th|\.)?\s+(?:(?:of|de)\s+)?{_NAME}(?:,?\s+(?:de\s+)?{_YEAR})?"),
    re.compile(rf"\b{_NAME}\s+{_DAY}(?![.:]\d)(?:st|nd|rd|th)?(?:,?\s+{_YEAR})?"),
    re.compile(rf"\b{_NAME},?\s+{_YEAR}"),
)
_POINT_FIRST = re.compile(r"(?<![\w.])\.(?=\d)")


@dataclass(frozen=True, slots=True)
class Amount:
    """A number that is said. `values` are its canonical spellings: more than one where it may be read in several ways."""

    values: frozenset[str]
    negative: bool = False
    percent: bool = False
    currency: str = ""
    """ISO 4217, or empty."""

    def answers(self, wanted: "Amount") -> bool:
        """Whether it says what is wanted. A currency that nobody wanted changes nothing; a percent sign changes the value."""
        same = self.negative == wanted.negative and self.percent == wanted.percent
        return same and not self.values.isdisjoint(wanted.values) and wanted.currency in ("", self.currency)


@dataclass(frozen=True, slots=True)
class Day:
    """A date, or as much of it as is said. `months_and_days`: two where `3/5` may be either."""

    year: int | None
    months_and_days: frozenset[tuple[int, int | None]]

    def answers(self, wanted: "Day") -> bool:
        return wanted.year in (None, self.year) and any(
            month == wanted_month and wanted_day in (None, day)
            for month, day in self.months_and_days
            for wanted_month, wanted_day in wanted.months_and_days
        )

    def numbers(self) -> Iterator[Amount]:
        """Its year and days, which may be wanted alone."""
        days = {day for _, day in self.months_and_days if day is not None}
        for number in (*days, *(() if self.year is None else (self.year,))):
            yield Amount(frozenset((str(number),)))


@dataclass(frozen=True, slots=True)
class Said:
    amounts: tuple[Amount, ...]
    days: tuple[Day, ...]


def said(text: str) -> Said:
    """Every date of the text, and every number that is no part of one. `one`, and a month without a day or a year, are words."""
    days: list[Day] = []

    def take(match: re.Match[str]) -> str:
        day = _day(match.groupdict())
        if day is None:
            return match[0]
        days.append(day)
        return " "

    text = _POINT_FIRST.sub("0.", text)
    for pattern in _DATES:
        text = pattern.sub(take, text)
    return Said(tuple(_amounts(text)), tuple(days))


def numbers_match(answer: str, references: Sequence[str]) -> Value:
    """1 if the answer says every number and date of a reference, with its sign, percent sign and currency, else 0.

    References without any are passed over; undefined where none has one.
    """
    wanted = [found for found in map(said, references) if found.amounts or found.days]
    if not wanted:
        return Undefined("no reference answer holds a number")
    given = said(answer)
    numbers = (*given.amounts, *(number for day in given.days for number in day.numbers()))
    return float(any(_says(given.days, numbers, reference) for reference in wanted))


def _says(days: Sequence[Day], numbers: Sequence[Amount], reference: Said) -> bool:
    return all(any(day.answers(wanted) for day in days) for wanted in reference.days) and all(
        any(number.answers(wanted) for number in numbers) for wanted in reference.amounts
    )


def _day(parts: Mapping[str, str | None]) -> Day | None:
    """None where the parts are no date."""
    numbers = {name: int(part) for name, part in parts.items() if part is not None and part.isdecimal()}
    day = numbers.get("day")
    read: list[tuple[int, int | None]]
    if "second" in numbers:
        first, second = numbers["first"], numbers["second"]
        read = [(second, first)] if parts["mark"] == "." else [(second, first), (first, second)]
    elif name := parts.get("name"):
        read = [(int(month(name) or 0), day)]
    else:
        read = [(numbers["month"], day)]
    possible = frozenset((month, day) for month, day in read if 1 <= month <= 12 and (day is None or 1 <= day <= 31))
    return Day(numbers.get("year"), possible) if possible else None


def _amounts(text: str) -> Iterator[Amount]:
    """Those in digits, then those in words: each in the order of the text."""
    position, in_digits = 0, True
    for number in claimed_numbers(text):
        if in_digits and not any(sign.isdigit() for sign in number.text):
            position, in_digits = 0, False
        begins = r"(?<![A-Za-z_\d])" if in_digits else r"(?<![^\W\d_])"
        place = re.compile(begins + re.escape(number.text)).search(text, position)
        start = place.start() if place else position
        position = start + len(number.text)
        before = _BEFORE.search(text, max(0, start - _LOOKED_AT_BEFORE_CHARS), start)
        after = _AFTER.match(text, position)
        values, paid = _meant(number), before["money"] if before else None
        if paid and (scale := _SHORT_SCALE.match(text, position)):
            values = claimed_numbers(f"{number.text} {scale.lastgroup}")[0].values
        money = paid or (after["money"] if after else "")
        yield Amount(values, bool(before and before["sign"]), number.percent, _CURRENCIES.get(money.lower(), ""))


def _meant(number: Number) -> frozenset[str]:
    """`1,000` is a thousand, and never 1; `0,125` is an eighth. `1.234` stays both: it meets 1,234 and 1.234."""
    if len(number.values) > 1 and number.text.startswith("0"):
        return frozenset((min(number.values, key=float),))
    if len(number.values) > 1 and "," in number.text:
        return frozenset((max(number.values, key=float),))
    return number.values
