import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.digests import digest_bytes
from rag_service.errors import InvalidSettings, NotFound
from rag_service.prompt import Template, fill, load_template, parse_template, render
from rag_service.types import Chunk, ChunkId, DocumentId, Hit

PLAIN = b"--- system\nUse the passages.\n--- user\n{{passages}}\n\nQ: {{question}}\n"


def template(data: bytes = PLAIN) -> Template:
    return parse_template(data, name="answer", version="9")


def hit(text: str, *, title: str = "", path: tuple[str, ...] = (), score: float = 0.5) -> Hit:
    chunk = Chunk(
        id=ChunkId(text),
        document_id=DocumentId("d"),
        ordinal=0,
        start=0,
        end=len(text),
        text=text,
        title=title,
        heading_path=path,
        source="d.txt",
        page=None,
        embedded_text=text,
        tokens=1,
    )
    return Hit(chunk, score)


def words(text: str) -> int:
    return len(text.split())


def test_a_template_is_a_system_part_and_a_user_part() -> None:
    parsed = template()
    assert parsed.system == "Use the passages."
    assert parsed.user == "{{passages}}\n\nQ: {{question}}"
    assert (parsed.name, parsed.version) == ("answer", "9")


def test_a_templates_digest_is_that_of_its_bytes() -> None:
    assert template().digest == digest_bytes(PLAIN)
    assert template(PLAIN + b"\n").digest != template().digest


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{{question}} {{passages}}", id="no parts"),
        pytest.param(b"--- system\nx {{question}} {{passages}}\n", id="no user part"),
        pytest.param(b"--- user\n{{question}} {{passages}}\n--- system\nx\n", id="in the wrong order"),
        pytest.param(b"hello\n--- system\nx\n--- user\n{{question}} {{passages}}\n", id="text before the first part"),
        pytest.param(b"--- system\nx\n--- user\n{{question}} {{passages}}\n--- user\ny\n", id="two user parts"),
        pytest.param(b"--- system\nx\n--- user\n{{question}}\n", id="no passages"),
        pytest.param(b"--- system\nx\n--- user\n{{passages}}\n", id="no question"),
        pytest.param(b"--- system\nx\n--- user\n{{question}} {{passages}} {{today}}\n", id="an unknown placeholder"),
        pytest.param(b"--- system\nx\xff\n--- user\n{{question}} {{passages}}\n", id="not UTF-8"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidSettings, match="answer/9"):
        template(data)


def test_placeholders_may_stand_in_the_system_part_and_twice() -> None:
    parsed = template(b"--- system\n{{passages}} {{question}}\n--- user\nQ: {{question}} {{question}}\n")
    prompt, _ = render(parsed, "why?", [hit("a")], budget_tokens=100, count_tokens=words)
    assert prompt.user == "Q: why? why?"
    assert "why?" in prompt.system


def test_the_bundled_template_is_found_and_filled() -> None:
    loaded = load_template("answer/1")
    prompt, dropped = render(loaded, "How many days?", [hit("28 days.")], budget_tokens=1000, count_tokens=words)
    assert dropped == 0
    assert "Question: How many days?" in prompt.user
    assert "[1] \n28 days." in prompt.user
    assert "{{" not in prompt.system + prompt.user


@pytest.mark.parametrize(
    "reference", ["", "answer", "answer/", "answer/99", "../answer/1", "answer/1.txt", "answer/../answer/1", "/etc/passwd"]
)
def test_an_unknown_template_is_not_found_and_the_hint_lists_those_that_are(reference: str) -> None:
    with pytest.raises(NotFound) as caught:
        load_template(reference)
    assert "answer/1" in caught.value.hint


def test_passages_are_numbered_from_1_and_show_where_they_stand() -> None:
    hits = [hit("first", title="Guide", path=("Guide", "Part")), hit("second", title="Other")]
    prompt, _ = render(template(), "why?", hits, budget_tokens=100, count_tokens=words)
    assert prompt.user == "[1] Guide > Part\nfirst\n\n[2] Other\nsecond\n\nQ: why?"
    assert [passage.marker for passage in prompt.passages] == [1, 2]
    assert [passage.chunk for passage in prompt.passages] == [hit.chunk for hit in hits]


def test_placeholders_inside_the_question_and_the_passages_are_not_filled() -> None:
    prompt, _ = render(template(), "what is {{passages}}?", [hit("it is {{question}} \\1 \\g<0>")], budget_tokens=100, count_tokens=words)
    assert prompt.user == "[1] \nit is {{question}} \\1 \\g<0>\n\nQ: what is {{passages}}?"


@given(question=st.text(max_size=40), text=st.text(max_size=40))
def test_question_and_passages_stand_in_the_prompt_word_for_word(question: str, text: str) -> None:
    prompt, _ = render(template(), question, [hit(text)], budget_tokens=100, count_tokens=words)
    assert prompt.user == f"[1] \n{text}\n\nQ: {question}"
    assert prompt.question == question


def test_the_worst_hits_are_left_out_until_the_prompt_fits() -> None:
    hits = [hit(f"{'word ' * 9}h{number}") for number in range(5)]  # 10 words, and 1 for the number
    # 3 words of system, "Q:" and "why?", and 11 a passage: 27 words with two, 38 with three
    prompt, dropped = render(template(), "why?", hits, budget_tokens=37, count_tokens=words)
    assert dropped == 3
    assert [passage.chunk.text.split()[-1] for passage in prompt.passages] == ["h0", "h1"]
    prompt, dropped = render(template(), "why?", hits, budget_tokens=38, count_tokens=words)
    assert dropped == 2


def test_the_first_hit_is_shown_even_when_it_does_not_fit() -> None:
    prompt, dropped = render(template(), "why?", [hit("word " * 99), hit("b")], budget_tokens=10, count_tokens=words)
    assert [passage.marker for passage in prompt.passages] == [1]
    assert dropped == 1


def test_a_prompt_without_hits_is_rendered_too() -> None:
    prompt, dropped = render(template(), "why?", [], budget_tokens=1, count_tokens=words)
    assert (prompt.user.strip(), prompt.passages, dropped) == ("Q: why?", (), 0)


CONDENSING = b"--- system\nRewrite.\n--- user\n{{history}}\n\nQ: {{question}}\n"


def test_a_template_that_condenses_shows_the_conversation_and_no_passages() -> None:
    parsed = parse_template(CONDENSING, name="condense", version="9")
    shown = fill(parsed, {"history": "User: {{question}}", "question": "And then?"})
    assert (shown.system, shown.user) == ("Rewrite.", "User: {{question}}\n\nQ: And then?")


@pytest.mark.parametrize(("data", "name"), [(PLAIN, "condense"), (CONDENSING, "answer")])
def test_a_template_for_the_one_purpose_is_refused_for_the_other(data: bytes, name: str) -> None:
    with pytest.raises(InvalidSettings, match="must use each of"):
        parse_template(data, name=name, version="9")


def test_each_purpose_finds_its_own_templates_alone() -> None:
    assert load_template("condense/1", condensing=True).name == "condense"
    for reference, condensing in (("condense/1", False), ("answer/1", True)):
        with pytest.raises(NotFound) as caught:
            load_template(reference, condensing=condensing)
        assert caught.value.param == "prompt"
        assert reference not in caught.value.hint
