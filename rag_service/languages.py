"""Which language a text is in, by its script and its function words. Pure, deterministic, and linear in the length of the text.

Eight languages are told apart. Some others are known only so that they are not taken for one of these: a text in Italian is `None`.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Literal, get_args

Language = Literal["ar", "de", "en", "es", "fr", "ja", "ru", "zh"]
"""ISO 639-1 code."""

LANGUAGES: tuple[Language, ...] = get_args(Language)

READ_CHARS = 500
"""Of a long text only the beginning is looked at."""

_LEAST_HITS = 2
"""One function word may be a name or a loan: in Latin letters, fewer than two say nothing."""
_LEAST_SHARE = 0.12
"""Of all words. Running text has 30 to 50 % of these function words, a table or a list of names nearly none."""
_LEAST_CJK_CHARS = 2
_UNMARKED_HAN_CHARS = 8
"""Chinese characters alone, without a word that only Chinese has: a shorter text may be a Japanese name or heading."""
_KANA_SHARE = 0.05
_FOREIGN_SHARE = 0.01

_FUNCTION_WORDS: Mapping[Language, str] = {
    "en": """a an and are as at am be been being but by can could did do does doing for from had has have having he her him his how i if
        in into is it its me my of on or our shall she should so than that the their them then there these they this those to was we
        were what when where which who whom whose why will with would you your ca wo sha eg ie""",
    "de": """aber als am an auch auf aus bei bin bis da damit das dass dein dem den der des dessen deren die dies diese diesem diesen
        dieser dieses dir du durch ein eine einem einen einer eines er es euch für hat hatte habe haben hätte ich ihm ihn ihr ihre ihrem
        ihren ihrer im in ist ja kann können man mein mit muss müssen nach nicht noch nur ob oder sein seine seinem seinen seiner sich
        sie sind so soll sollte um und uns unser unter vom von vor war waren warum was weil welche welchem welchen welcher welches wenn
        wer wie wieso wir wird werden wo wurde wurden zu zum zur zwischen über""",
    "es": """a al algo ante aquel aquella como con cuál cuáles cuándo cuánto cuánta cuántos cuántas cuyo de del desde donde dos el él ella
        ellas ellos en entre era eran es esa ese eso esta está están este estos estas esto fue fueron ha había han hasta hay la las le
        les lo los más me mi mis muy ni no nos nosotros o para pero por porque pues que qué quién quiénes se ser si sí sido sin sobre
        son su sus también te tiene tienen tu tus un una unas uno unos y ya yo""",
    "fr": """à ai au aucun aussi aux avait avec avoir ce ceci cela ces cet cette ceux comme comment combien dans de des donc dont du
        elle elles en entre es est et étaient était être eu fait il ils je la le les leur leurs lui ma mais me même mes mon ne ni
        nos notre nous on ont ou où par pas peut plus pour pourquoi quand que quel quelle quelles quels qui quoi sa sans se sera ses
        si son sont sous sur ta te tes toi ton tu un une vos votre vous y""",
    "ru": """а без бы был была были было быть в вам вас вы где да для до его ее её если есть еще ещё же за и из или им их к как какая
        какие какой каком какую когда кто куда ли мне мой мы на над нас не него нее нет ни них но о об он она они оно от по под почему
        при с сколько со так также там тем то тоже только тот ту ты у уже чего чей чем что чтобы эта эти это этого этой этом этот я""",
    "ar": """في من على إلى الى عن مع ما ماذا هل كيف متى أين لماذا كم هو هي هم نحن أنا أنت هذا هذه ذلك تلك هؤلاء التي الذي الذين اللذين
        أن إن أنه إنه أنها إنها كان كانت يكون تكون لم لن لا ليس ليست قد لقد ثم أو أم و بل لكن ولكن حتى إذا إذ منذ عند بعد قبل بين كل أي
        كما به بها له لها لهم فيه فيها منه منها عليه عليها إليه إليها عنه عنها وهو وهي وفي ومن وما وقد التى الذى هناك هنا""",
    "zh": """什么 甚么 什麼 怎么 怎样 怎麼 如何 哪些 哪个 哪里 哪裡 为什 為什 多少
        我们 我們 你们 他们 他們 它们 这个 這個 那个 那個 这些 這些 那些 这是 一个 一個 可以 是否 因为 因為 所以 但是 如果 或者 以及
        还是 還是 请问 么是 是什 有什 有哪 的是 是的""",
    "ja": """です ます ませ せん まし した する して され れる こと もの この その あの どの これ それ ある
        いる から まで など なに とは では には ので のは のが のを のか です すか ます ょう どう なぜ どこ いつ だれ れは それ れた
        てい いて った ない なる より について""",
}
"""Stop words of keyword search, and what a language is known by. Where words are not divided, pairs of characters.

Neither `us` nor `not` and `no`: the first is a country as often, the others change what is asked.
"""

_NEIGHBOURS = {
    "it": "che di il della delle dei degli del gli nel nella sono è per con una non come anche più questo questa alla dal cosa quali",
    "pt": "o os as um uma do da dos das em no na nos nas não que para com por mais como é são ao foi seu sua pelo pela você quais qual",
    "nl": "de het een en van is dat niet op te zijn voor met die aan er maar om ook dan naar wordt bij uit hoe wat waar welke deze kan",
    "sv": "och att det som en ett på är av för med den till inte har jag vad hur og det af er på til ikke hvad hvordan jeg",
    "bg": "се са ще съм сме беше или който която което какво във със това този тази как защо къде има",
}
"""Languages that share function words with one of ours."""

_WORD = re.compile(r"[^\W\d_]+")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_CYRILLIC = re.compile("[\u0400-\u052f]")
_ARABIC = re.compile("[\u0620-\u064a\u066e-\u06d3]")
_OTHER = re.compile("[\u0370-\u03ff\u0530-\u05ff\u0700-\u109f\u10a0-\u18af\uac00-\ud7a3]")
"""Greek, Armenian, Hebrew, the scripts of India and South-East Asia, Georgian, Hangul, …"""
_CHINESE_ALONE = re.compile("[的了吗嗎呢吧这這们們个個么麼说說为為从從让讓对對与與没沒还還哪怎您]")
_NOT_RUSSIAN = re.compile("[іїєґўјљњћђџѓќѐѝә-ӿ]")
_NOT_ARABIC = re.compile("[پچژگکیٹڈڑںےھ]")
"""Letters of Persian and Urdu."""
_SPELLED: Mapping[Language, re.Pattern[str]] = {
    "de": re.compile("ß"),
    "es": re.compile("[ñ¿¡]"),
    "fr": re.compile("œ|(?<!\\w)(?:[ldjcnsm]|qu)['’](?=[^\\W\\d_])"),
    "ru": re.compile("[ыэё]"),
}
"""Counts as one function word more."""


def bare(word: str) -> str:
    """Letters of the Latin and Greek scripts without their marks: `élève` and `eleve` meet. `й` of Cyrillic is a letter, not a mark."""
    if word.isascii():
        return word
    decomposed = unicodedata.normalize("NFD", word.translate(_BARE_LETTERS))
    kept = [
        character
        for before, character in zip("\0" + decomposed, decomposed, strict=False)
        if not ("\u0300" <= character <= "\u036f" and (before < "\u0400" or character in "\u0300\u0301"))
    ]
    return unicodedata.normalize("NFC", "".join(kept)).replace("ё", "е")


_BARE_LETTERS = str.maketrans({"ı": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ß": "ss"})


@cache
def function_words(language: Language) -> frozenset[str]:
    """Lower-case, with and without accents."""
    listed = _FUNCTION_WORDS[language].split()
    return frozenset(listed) | frozenset(map(bare, listed))


@cache
def _languages_of_word() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    known = {language: words.split() for language, words in (*_FUNCTION_WORDS.items(), *_NEIGHBOURS.items())}
    for language, words in known.items():
        for word in dict.fromkeys(words):
            found.setdefault(word, []).append(language)
    return {word: tuple(languages) for word, languages in found.items()}


def language_of(text: str) -> Language | None:
    """None where the text is too short to say, in no language that is known, or as likely in one as in another."""
    text = text[:READ_CHARS].lower()
    if text.isascii():
        return _by_words(text)
    words = _WORD.findall(text)
    letters = sum(map(len, words))
    han, kana = len(_HAN.findall(text)), len(_KANA.findall(text))
    if 2 * (han + kana) > letters / 2:  # one of their characters says as much as two letters or more
        return _by_characters(text, han, kana)
    if 2 * len(_OTHER.findall(text)) > letters:
        return None
    if 2 * (count := len(_CYRILLIC.findall(text))) > letters:
        return None if len(_NOT_RUSSIAN.findall(text)) > _FOREIGN_SHARE * count else _by_words(text, only="ru")
    if 2 * (count := len(_ARABIC.findall(text))) > letters:
        return None if len(_NOT_ARABIC.findall(text)) > _FOREIGN_SHARE * count else _by_words(text, only="ar")
    return _by_words(text)


def _by_characters(text: str, han: int, kana: int) -> Language | None:
    if han + kana < _LEAST_CJK_CHARS:
        return None
    if kana > _KANA_SHARE * (han + kana):
        return "ja"
    return "zh" if han >= _UNMARKED_HAN_CHARS or _CHINESE_ALONE.search(text) else None


def _by_words(text: str, only: Language | None = None) -> Language | None:
    """The language with most function words, unless there are too few or another has as many."""
    known = _languages_of_word()
    hits: dict[str, int] = {}
    words = _WORD.findall(text)
    for word in words:
        for language in known.get(word, ()):
            hits[language] = hits.get(language, 0) + 1
    if not text.isascii() or "'" in text:
        for spelled, pattern in _SPELLED.items():
            if pattern.search(text):
                hits[spelled] = hits.get(spelled, 0) + 1
    if not hits:
        return None
    best = max(hits, key=lambda language: hits[language])
    most = hits.pop(best)
    clear = most >= (1 if only else _LEAST_HITS) and most >= _LEAST_SHARE * len(words) and most > max(hits.values(), default=0)
    return next((language for language in LANGUAGES if language == best and only in (None, best)), None) if clear else None
