"""Models that say nothing, nonsense, far too much, or what cannot be written down: behind an OpenAI-compatible door."""

import gzip
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from rag_service.errors import DeadlineExceeded, GeneratorFailed
from rag_service.generators.bounded_http import MAX_REPLY_BYTES, bounded
from rag_service.generators.langchain import LangChainGenerator
from rag_service.types import Completion, Prompt
from tests.generators.chat_server import Scene, completion_of, delta, event, providing, until

PROMPT = Prompt(system="Answer from the passages.", user="[1] Paris is in France.", question="Where is Paris?", passages=())


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none-needed-here")


def ask(scene: Scene, *, write: Callable[[str], None] | None = None) -> Completion:
    with providing(scene) as base_url:
        return LangChainGenerator.open("openai:tiny", base_url=base_url, timeout_s=20).generate(PROMPT, write=write)


def streamed(scene: Scene) -> tuple[Completion, list[str]]:
    pieces: list[str] = []
    return ask(scene, write=pieces.append), pieces


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (["Par", "is\x00", " [1]\x1b[0m."], "Paris [1][0m."),
        (["\n\r\n  Paris\x07 ", "[1].", " \r\n"], "Paris [1]."),
        (["bread \ud83e", "\udd56 [1]"], "bread 🥖 [1]"),
        (["half \ud83e", " and half \udd56"], "half \ufffd and half \ufffd"),
        (["\x7f\x9f\x85Paris"], "Paris"),
        (["}{][<|im_end|>\u202e\ufdd0 %s{0}"], "}{][<|im_end|>\u202e\ufdd0 %s{0}"),
    ],
)
def test_what_is_told_piece_by_piece_and_what_is_kept_is_the_same_clean_text(said: list[str], text: str) -> None:
    completion, pieces = streamed(Scene(pieces=said))
    assert completion.text == text
    assert "".join(pieces).strip() == text
    assert ask(Scene(pieces=said)) == completion
    json.dumps(completion.text, ensure_ascii=False).encode()


@pytest.mark.parametrize("said", [[""], [" \n", "\t "], ["\x00\x01"]])
def test_a_model_that_says_nothing_declines(said: list[str]) -> None:
    completion, pieces = streamed(Scene(pieces=said))
    assert completion.declined
    assert "".join(pieces).strip() == completion.text == ""
    assert ask(Scene(pieces=said)) == completion


def test_ten_megabytes_are_a_failure() -> None:
    with pytest.raises(GeneratorFailed, match="more than 200,000 characters"):
        ask(Scene(pieces=["x" * 10_000_000]))


def test_a_stream_of_ten_megabytes_is_left_after_the_longest_answer_and_the_provider_sees_it() -> None:
    scene = Scene(pieces=itertools.repeat("x" * 10_000, 1000))
    pieces: list[str] = []
    with providing(scene) as base_url:
        generator = LangChainGenerator.open("openai:tiny", base_url=base_url, timeout_s=20)
        with pytest.raises(GeneratorFailed, match="more than 200,000 characters"):
            generator.generate(PROMPT, write=pieces.append)
        assert until(scene.hung_up.is_set)
    assert sum(map(len, pieces)) <= 200_000
    assert scene.sent < 1000


def test_one_piece_of_ten_megabytes_is_not_told() -> None:
    pieces: list[str] = []
    with pytest.raises(GeneratorFailed, match="more than 200,000 characters"):
        ask(Scene(pieces=["x" * 10_000_000]), write=pieces.append)
    assert pieces == []


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    "raw",
    [
        [b""],
        [b"\xff\xfe\x00"],
        [b"<html>Bad gateway</html>"],
        [b"null"],
        [b"[]"],
        [b'{"choices": []}'],
        [b'{"choices": [{"index": 0, "message": null}]}'],
        [b"data: {nope\n\n"],
        [b"data: [DONE]\n\n"],
        [b"data: [1]\n\n"],
        [event("Par"), b'data: {"error": {"message": "out of memory"}}\n\n'],
        [event("Par"), event("\x00").replace(b"\\u0000", b"\xc3"), b"data: [DONE]\n\n"],
        [b"[" * 100_000],
        [b"data: " + b"[" * 100_000 + b"\n\n"],
    ],
    ids=lambda raw: repr(raw[-1][:30]),
)
def test_a_reply_that_makes_no_sense_is_a_failure_with_a_short_message(raw: Iterable[bytes], streams: bool) -> None:
    with pytest.raises(GeneratorFailed) as caught:
        ask(Scene(raw=raw), write=(lambda _: None) if streams else None)
    assert caught.value.stage == "generate"
    assert len(caught.value.message) < 500


def test_a_connection_that_breaks_in_the_middle_of_a_stream_is_a_failure_and_not_half_an_answer() -> None:
    def broken() -> Iterator[bytes]:
        yield event("Paris is no")
        raise ConnectionAbortedError

    told: list[str] = []
    with pytest.raises(GeneratorFailed):
        ask(Scene(raw=broken()), write=told.append)
    assert told == ["Paris is no"]


CALL = {"id": "call_1", "type": "function", "function": {"name": "delete_everything", "arguments": "{}"}}


@pytest.mark.parametrize("role", ["user", "system", "tool", "wizard"])
def test_an_answer_in_another_role_than_the_models_is_a_failure(role: str) -> None:
    with pytest.raises(GeneratorFailed, match="in the role"):
        ask(Scene(raw=[completion_of({"role": role, "content": "Paris [1].", "tool_call_id": "x"})]))


def test_a_stream_in_the_users_role_is_a_failure() -> None:
    told: list[str] = []
    with pytest.raises(GeneratorFailed, match="in the role"):
        ask(Scene(raw=[delta({"role": "user", "content": "Paris [1]."}), delta({}, "stop"), b"data: [DONE]\n\n"]), write=told.append)
    assert told == []


@pytest.mark.parametrize("streams", [False, True])
def test_a_tool_call_in_place_of_an_answer_is_a_failure_and_no_abstention(streams: bool) -> None:
    whole = completion_of({"role": "assistant", "content": None, "tool_calls": [CALL]}, "tool_calls")
    pieces = [delta({"role": "assistant", "tool_calls": [{"index": 0, **CALL}]}), delta({}, "tool_calls"), b"data: [DONE]\n\n"]
    with pytest.raises(GeneratorFailed, match="it was offered none"):
        ask(Scene(raw=pieces if streams else [whole]), write=(lambda _: None) if streams else None)


def test_a_tool_call_beside_an_answer_is_not_looked_at() -> None:
    message = {"role": "assistant", "content": "Paris [1].", "tool_calls": [CALL]}
    assert ask(Scene(raw=[completion_of(message, "tool_calls")])).text == "Paris [1]."


@pytest.mark.parametrize("end", [[], [b"data: [DONE]\n\n"]], ids=["nothing more", "done"])
def test_a_stream_that_ends_without_saying_why_is_a_failure_and_not_half_an_answer(end: list[bytes]) -> None:
    told: list[str] = []
    with pytest.raises(GeneratorFailed, match="broke off"):
        ask(Scene(raw=[event("Paris is no"), *end]), write=told.append)
    assert told == ["Paris is no"]


@pytest.mark.parametrize("streams", [False, True])
def test_a_reply_without_end_is_left_before_it_fills_the_memory(streams: bool) -> None:
    """White space, which no limit on text or pieces sees."""
    scene = Scene(raw=itertools.repeat(b" " * 2**16, 10 * MAX_REPLY_BYTES // 2**16))
    with providing(scene) as base_url:
        generator = LangChainGenerator.open("openai:tiny", base_url=base_url, timeout_s=20)
        with pytest.raises(GeneratorFailed) as caught:
            generator.generate(PROMPT, write=(lambda _: None) if streams else None)
        assert until(scene.hung_up.is_set)
    assert "16 MiB" in caught.value.message
    assert scene.sent <= 2 * MAX_REPLY_BYTES // 2**16


def test_of_a_reply_just_so_long_every_byte_is_read() -> None:
    assert sum(map(len, bounded([b"x" * MAX_REPLY_BYTES]))) == MAX_REPLY_BYTES
    with pytest.raises(GeneratorFailed, match="16 MiB"):
        list(bounded([b"x" * MAX_REPLY_BYTES, b"x"]))


def test_a_compressed_reply_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    scene = Scene(raw=[bomb], reply_headers={"Content-Encoding": "gzip"})
    with pytest.raises(GeneratorFailed, match="compressed"):
        ask(scene)
    assert scene.headers[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize("streams", [False, True])
def test_a_provider_that_hangs_is_left_at_the_deadline(streams: bool) -> None:
    leave = threading.Event()

    def hangs() -> Iterator[bytes]:
        leave.wait(30)
        yield b""

    with providing(Scene(raw=hangs())) as base_url:
        generator = LangChainGenerator.open("openai:tiny", base_url=base_url, timeout_s=60)
        with pytest.raises(DeadlineExceeded):
            generator.generate(PROMPT, deadline_s=time.monotonic() + 0.3, write=(lambda _: None) if streams else None)
        leave.set()
