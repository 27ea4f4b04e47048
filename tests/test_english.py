import pytest

from rag_service.english import regular


@pytest.mark.parametrize(
    ("form", "base"),
    [
        ("written", "write"),
        ("analyses", "analysis"),
        ("organised", "organized"),
        ("behavioural", "behavioral"),
        ("analysing", "analyzing"),
        ("metres", "meters"),
        ("fibre", "fiber"),
        ("catalogues", "catalogs"),
        ("modelling", "modeling"),
    ],
)
def test_a_form_that_endings_do_not_tell_becomes_its_base(form: str, base: str) -> None:
    assert regular(form) == base


@pytest.mark.parametrize(
    "word", ["hour", "rise", "source", "called", "analysis", "four", "tree", "found", "calling", "journey", "literature"]
)
def test_other_words_stay_as_they_are(word: str) -> None:
    assert regular(word) == word


def test_a_base_has_no_other_base() -> None:
    for word in ("write", "child", "color", "center", "model"):
        assert regular(regular(word)) == regular(word) == word
