import pytest

from rag_service.generators.declined import declined


@pytest.mark.parametrize(
    "text",
    ["NO_ANSWER", "no_answer", " NO_ANSWER.\n", '"NO_ANSWER"', "**NO_ANSWER**", "`No_Answer`!", "„NO_ANSWER“", "(NO_ANSWER)"],
)
def test_a_reply_of_nothing_but_no_answer_declines(text: str) -> None:
    assert declined(text)


@pytest.mark.parametrize("text", ["", "  \n\t", "...", '""', "\u200b"])
def test_a_reply_without_a_word_declines(text: str) -> None:
    assert declined(text)


@pytest.mark.parametrize(
    "text",
    ["NO_ANSWER is what it prints [1].", "The passages hold NO_ANSWER", "NO ANSWER", "No.", "NOANSWER", "7", "[1]", "日本"],
)
def test_a_reply_that_says_anything_else_is_an_answer(text: str) -> None:
    assert not declined(text)
