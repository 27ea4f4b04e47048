"""Which language a text is in; texts written for this file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.languages import LANGUAGES, Language, bare, function_words, language_of


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "What is BM25?"),
        ("en", "How do I roll back a release?"),
        ("en", "The café in the Rue de la Paix is closed on Mondays."),
        ("de", "Wo ist der Schlüssel?"),
        ("de", "Die Kündigungsfrist beträgt zwei Wochen und beginnt am Monatsende."),
        ("es", "¿Dónde está la llave?"),
        ("es", "El contrato se renueva cada año, salvo que una de las partes lo cancele."),
        ("fr", "Où est la clé ?"),
        ("fr", "L’abonnement est renouvelé chaque année, sauf si vous le résiliez."),
        ("ru", "Где ключ?"),
        ("ru", "Договор продлевается каждый год."),
        ("ar", "أين المفتاح؟"),
        ("ar", "يتجدد العقد كل سنة ما لم يلغه أحد الطرفين."),
        ("zh", "钥匙在哪里？"),
        ("zh", "合同每年自动续签，除非一方提出取消。"),
        ("zh", "鑰匙在哪裡？我們沒有"),
        ("ja", "鍵はどこですか。"),
        ("ja", "契約は毎年更新されます。"),
        ("ja", "データ"),
        ("zh", "如何安装 Python 和 Docker？请参阅安装文档的第一部分"),
    ],
)
def test_the_language_of_a_text(language: Language, text: str) -> None:
    assert language_of(text) == language
    assert language_of(text.upper()) == language


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "kubernetes deployment",
        "Berlin Paris Madrid",
        "def main(): return 0",
        "東京都庁",  # as well Japanese as Chinese
        "Dove è il gatto della signora e che cosa mangia?",
        "Onde está o gato da senhora e o que ele come?",
        "De kat zit op het dak van het huis",
        "Katten och hunden är inte hemma",
        "Де ключ і що він відчиняє?",
        "Къде е ключът и какво ще отвори той със него?",
        "کلید کجاست و چه چیزی را باز می‌کند؟",
        "열쇠는 어디에 있습니까?",
        "กุญแจอยู่ที่ไหน",
        "Πού είναι το κλειδί;",
        "चाबी कहाँ है?",
    ],
)
def test_a_text_that_may_be_in_no_language_known_is_in_none(text: str) -> None:
    assert language_of(text) is None


@given(text=st.text(max_size=80))
def test_any_text_is_in_one_language_or_none(text: str) -> None:
    assert language_of(text) in (*LANGUAGES, None)


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    assert language_of("Where is the key that was on the table? " * 20 + "Wo ist der Schlüssel und die Tür? " * 10_000) == "en"


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_a_short_list_of_function_words(language: Language) -> None:
    words = function_words(language)
    assert 35 <= len(words) <= 140
    assert all(word == word.casefold() for word in words)


@pytest.mark.parametrize(
    ("word", "plain"),
    [("élève", "eleve"), ("größe", "grosse"), ("ñu", "nu"), ("łódź", "lodz"), ("ёж", "еж"), ("йод", "йод"), ("άλφα", "αλφα")],
)
def test_marks_are_taken_off_letters_that_are_read_without_them(word: str, plain: str) -> None:
    assert bare(word) == plain
    assert bare(bare(word)) == plain
