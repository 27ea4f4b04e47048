"""Lines that people and programs can rely on: nothing forges one, nothing outgrows one, and no log breaks a request."""

import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO, StringIO
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from rag_service.telemetry.logs import MAX_BYTES, LogFormat, RequestLine, configure_logging, fields, log_request
from rag_service.telemetry.spans import remote_context, within

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FORMATS: tuple[LogFormat, ...] = ("text", "json")
FORGED = "2026-01-01T00:00:00+0000 ERROR rag_service: forged"
EVENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} (DEBUG|INFO|WARNING|ERROR) [\w.]+: ")

LINE = RequestLine(
    route="/ask",
    method="POST",
    status=200,
    duration_ms=12.34567,
    trace_id=TRACE_ID,
    outcome="answered",
    request_id="req-1",
    answer_id="ans_1",
    release="3cb4dda8a785",
    key_id="k1",
    cached=False,
    question="Who is ill?",
)

own = logging.getLogger("rag_service.test")
requests = logging.getLogger("rag_service.requests")


class Log:
    """`Log()(style)` configures logging for the test and gives what was written since."""

    def __init__(self) -> None:
        self.stream = BytesIO()

    def __call__(self, style: LogFormat, level: str = "info", *, log_questions: bool = False) -> "Log":
        self.stream = BytesIO()
        configure_logging(level, style, log_questions=log_questions, stream=self.stream)  # type: ignore[arg-type]
        return self

    @property
    def bytes(self) -> bytes:
        return self.stream.getvalue()

    @property
    def text(self) -> str:
        return self.bytes.decode()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.bytes.split(b"\n")[:-1]]


@pytest.fixture
def log() -> Iterator[Log]:
    """Leaves logging as it was."""
    root = logging.getLogger()
    touched = [logging.getLogger(name) for name in ("rag_service", "uvicorn", "uvicorn.error", "httpx", "other.library")]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in (root, *touched)]
    logging.captureWarnings(False)
    yield Log()
    logging.captureWarnings(False)
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_a_text_line_has_time_level_logger_and_message(log: Log) -> None:
    log("text")
    own.info("serving release %s", "3cb4")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} INFO rag_service\.test: serving release 3cb4\n", log.text)


def test_a_json_line_has_time_level_logger_and_message(log: Log) -> None:
    log("json")
    began = datetime.now(UTC)
    own.warning("two\nlines")
    (found,) = log.objects
    time = found.pop("time")
    assert found == {"level": "warning", "logger": "rag_service.test", "message": "two\nlines"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert abs((datetime.fromisoformat(time) - began).total_seconds()) < 5


@pytest.mark.parametrize("style", FORMATS)
@given(message=st.text(max_size=200), value=st.text(max_size=50))
@examples(max_examples=60)
def test_whatever_is_logged_stays_on_its_line(style: LogFormat, message: str, value: str) -> None:
    stream = BytesIO()
    handler_of(style, stream).handle(record_of(message, value))
    written = stream.getvalue()
    line = written.decode()
    assert written.endswith(b"\n")
    assert len(line.splitlines()) == 1, "by the widest notion of a line end that Python has"
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", line)
    if style == "json":
        found = json.loads(line)
        shown = (message.encode("utf-8", "backslashreplace").decode(), value.encode("utf-8", "backslashreplace").decode())
        assert (found["message"], found["field"]) == shown


def handler_of(style: LogFormat, stream: BytesIO) -> logging.Handler:
    """The handler of `configure_logging`, taken from the root again at once: hypothesis runs many examples in one test."""
    root = logging.getLogger()
    before, levels = list(root.handlers), [(logging.getLogger(name), logging.getLogger(name).level) for name in ("", "rag_service")]
    configure_logging("info", style, stream=stream)  # type: ignore[arg-type]
    handler = root.handlers[-1]
    logging.captureWarnings(False)
    root.handlers[:] = before
    for logger, level in levels:
        logger.setLevel(level)
    return handler


def record_of(message: str, value: str) -> logging.LogRecord:
    return own.makeRecord(own.name, logging.INFO, "", 0, message, (), None, extra=fields(field=value))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J\x85", r"\x9b2J\x85"),
        ("\u2028\u202e", r"\u2028\u202e"),
        ("\udc80é", r"\udc80é"),
    ],
)
def test_control_characters_are_shown_and_not_sent_to_the_terminal(log: Log, sent: str, shown: str) -> None:
    log("text")
    own.info(sent)
    assert log.text.endswith(f" rag_service.test: {shown}\n")


def test_a_traceback_keeps_its_lines_and_its_message_cannot_forge_one(log: Log) -> None:
    log("text")
    try:
        raise ValueError(f"bad\n{FORGED}\x1b[31m")
    except ValueError as error:
        error.add_note(FORGED)
        own.exception("it broke\n%s", FORGED)
    lines = log.text.splitlines()
    assert [line for line in lines if not line.startswith("  ")] == lines[:1]
    assert EVENT.match(lines[0])
    assert lines[0].endswith(rf"it broke\n{FORGED}")
    assert "  Traceback (most recent call last):" in lines
    assert rf"  {FORGED}\x1b[31m" in lines


def test_an_exception_is_told_as_type_message_and_stack_in_json(log: Log) -> None:
    log("json")
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        own.exception("it broke")
    (found,) = log.objects
    assert found["exception"]["type"] == "ValueError"
    assert found["exception"]["message"] == "bad\nnews"
    assert found["exception"]["stack"].startswith("Traceback (most recent call last):\n")
    assert found["exception"]["stack"].endswith("ValueError: bad\nnews\n")


@pytest.mark.parametrize("style", FORMATS)
def test_exception_without_an_exception_is_a_line_like_others(log: Log, style: LogFormat) -> None:
    log(style)
    own.exception("nothing was raised")
    assert log.text.count("\n") == 1
    assert "nothing was raised" in log.text


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize("character", ["x", "\x01", "é", "\U0001f600", "\udc80", "\u2028"])
def test_an_event_is_never_longer_than_its_bound(log: Log, style: LogFormat, character: str) -> None:
    log(style)
    long = character * 50_000
    own.info(long)
    own.info("many", extra=fields(**{f"field{number}": long for number in range(20)}))
    log_request(requests, RequestLine(long, long, 200, 1.0, TRACE_ID, "ok", request_id=long))
    try:
        raise ValueError(long)
    except ValueError:
        own.exception(long)
    events = re.split(rb"\n(?! )", log.bytes)[:-1]
    assert len(events) == 4
    assert max(len(event) + 1 for event in events) <= MAX_BYTES
    assert min(len(event) for event in events) > MAX_BYTES / 8, "cut, not thrown away"
    assert all("… [cut]".encode() in event for event in events)
    if style == "json":
        assert all(found["cut"] for found in log.objects)


@pytest.mark.parametrize("style", FORMATS)
def test_nor_do_thousands_of_fields_outgrow_it(log: Log, style: LogFormat) -> None:
    log(style)
    own.info("many", extra=fields(**{f"field{number}": number for number in range(5000)}))
    assert len(log.bytes) <= MAX_BYTES
    assert log.text.count("\n") == 1


@pytest.mark.parametrize("style", FORMATS)
def test_of_a_traceback_that_is_too_long_the_end_is_kept(log: Log, style: LogFormat) -> None:
    def deeper(left: int) -> None:
        if not left:
            raise ValueError("the reason")
        try:
            deeper(left - 1)
        except ValueError as error:
            raise ValueError("x" * 500) from error

    log(style)
    try:
        deeper(60)
    except ValueError:
        own.exception("it broke")
    assert len(log.bytes) <= MAX_BYTES
    assert "… [cut]" in log.text
    last = log.objects[0]["exception"]["stack"] if style == "json" else log.text
    assert last.rstrip().endswith("ValueError: " + "x" * 500)


@pytest.mark.parametrize("style", FORMATS)
def test_a_line_inside_a_span_names_its_trace(log: Log, style: LogFormat) -> None:
    log(style)
    with within(remote_context(f"00-{TRACE_ID}-{SPAN_ID}-01")):
        own.info("inside")
    own.info("outside")
    inside, outside = log.text.splitlines()
    if style == "json":
        assert (json.loads(inside)["trace_id"], json.loads(inside)["span_id"]) == (TRACE_ID, SPAN_ID)
    else:
        assert inside.endswith(f": inside trace_id={TRACE_ID}")
    assert "trace_id" not in outside


def test_the_trace_that_a_record_names_is_its_trace(log: Log) -> None:
    log("json")
    with within(remote_context(f"00-{'1' * 32}-{SPAN_ID}-01")):
        own.info("of another", extra={"trace_id": TRACE_ID})
    (found,) = log.objects
    assert found["trace_id"] == TRACE_ID
    assert "span_id" not in found, "the span belongs to the trace that was not named"


def test_fields_stand_beside_the_message(log: Log) -> None:
    own_fields = fields(release="3cb4", seconds=1.5, first=True, nothing=None, spaced="a b=c", message="no", big=2**70)
    log("json")
    own.info("opened", extra=own_fields)
    (found,) = log.objects
    shown = {name: found[name] for name in ("release", "seconds", "first", "spaced", "message", "big")}
    assert shown == {"release": "3cb4", "seconds": 1.5, "first": True, "spaced": "a b=c", "message": "opened", "big": str(2**70)}
    assert "nothing" not in found
    log("text")
    own.info("opened", extra=fields(release="3cb4", first=True, nothing=None, spaced="a b=c"))
    assert log.text.endswith(': opened release=3cb4 first=true spaced="a b=c"\n')


def test_a_request_is_one_line_that_people_can_read(log: Log) -> None:
    log("text")
    log_request(requests, LINE)
    assert log.text.partition("rag_service.requests: ")[2] == (
        f"POST /ask 200 answered 12.3 ms request_id=req-1 answer_id=ans_1 release=3cb4dda8a785 key_id=k1 cached=false trace_id={TRACE_ID}\n"
    )


def test_a_request_is_one_object_that_programs_can_read(log: Log) -> None:
    log("json")
    log_request(requests, LINE)
    (found,) = log.objects
    del found["time"]
    assert found == {
        "level": "info",
        "logger": "rag_service.requests",
        "message": "POST /ask 200 answered 12.3 ms",
        "trace_id": TRACE_ID,
        "route": "/ask",
        "method": "POST",
        "status": 200,
        "duration_ms": 12.346,
        "outcome": "answered",
        "request_id": "req-1",
        "answer_id": "ans_1",
        "release": "3cb4dda8a785",
        "key_id": "k1",
        "cached": False,
    }


@pytest.mark.parametrize("style", FORMATS)
def test_a_question_is_only_logged_where_that_was_asked_for(log: Log, style: LogFormat, caplog: pytest.LogCaptureFixture) -> None:
    log(style)
    log_request(requests, LINE)
    own.info("the line was %r", LINE)
    assert "ill" not in log.text + caplog.text
    log(style, log_questions=True)
    log_request(requests, LINE)
    assert (log.objects[0]["question"] == "Who is ill?") if style == "json" else ('question="Who is ill?"' in log.text)


def test_what_a_caller_sends_cannot_look_like_a_field(log: Log) -> None:
    log("text")
    log_request(requests, RequestLine("/ask", "GET x=1\n", 405, 1.0, TRACE_ID, "method_not_allowed", request_id='a" status=200'))
    assert r'GET x=1\n /ask 405 method_not_allowed 1.0 ms request_id="a\" status=200" trace_id=' in log.text
    assert log.text.count("\n") == 1


def test_no_line_is_made_for_a_request_below_the_level(log: Log) -> None:
    log("json", "warning")
    log_request(requests, LINE)
    own.info("neither")
    assert log.text == ""


@pytest.mark.parametrize("style", FORMATS)
def test_arguments_that_do_not_fit_are_shown_and_not_lost(style: LogFormat) -> None:
    stream = BytesIO()
    handler_of(style, stream).handle(own.makeRecord(own.name, logging.INFO, "", 0, "%d documents", ("five",), None))
    assert "%d documents ('five',)" in stream.getvalue().decode()


def test_an_argument_that_cannot_be_shown_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    stream = BytesIO()
    handler_of("text", stream).handle(own.makeRecord(own.name, logging.INFO, "", 0, "%s", (Odd(),), None))
    assert stream.getvalue() == b""
    assert capsys.readouterr().err == ""


def test_libraries_write_through_the_same_handler(log: Log) -> None:
    library, servers = logging.getLogger("other.library"), logging.getLogger("uvicorn.error")
    theirs = StringIO()
    library.addHandler(logging.StreamHandler(theirs))
    library.propagate = False
    log("json")
    uvicorn.Config("unused:app", log_config=None)
    library.info("of a library")
    servers.warning("of the server")
    servers.info("Started server process")
    logging.getLogger("httpx").info("HTTP Request: POST https://example.org")
    assert [(found["logger"], found["message"]) for found in log.objects] == [
        ("other.library", "of a library"),
        ("uvicorn.error", "of the server"),
    ]
    assert theirs.getvalue() == ""


def test_warnings_of_python_are_lines_too(log: Log) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log("json")
        warnings.warn("soon gone", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    (found,) = log.objects
    assert (found["level"], found["logger"]) == ("warning", "py.warnings")
    assert "DeprecationWarning: soon gone" in found["message"]


def test_at_debug_libraries_stay_silent_about_what_they_send(log: Log) -> None:
    """Clients of providers log whole requests, with the prompt, at debug."""
    library = logging.getLogger("other.library")
    log("text", "debug")
    own.debug("ours")
    library.debug("prompt: Who is ill?")
    assert "ours" in log.text
    assert "ill" not in log.text
    log("text", "debug", log_questions=True)
    library.debug("prompt: Who is ill?")
    assert "ill" in log.text


def test_configuring_again_replaces_what_was_configured(log: Log) -> None:
    first = log("text").stream
    log("json", "error")
    own.error("once")
    own.warning("not at all")
    assert first.getvalue() == b""
    assert [found["message"] for found in log.objects] == ["once"]


PROGRAM = """
import logging, sys
from rag_service.telemetry.logs import RequestLine, configure_logging, log_request
configure_logging("info", sys.argv[1])
for number in range(2000):
    logging.getLogger("rag_service").error("line %d", number)
    log_request(logging.getLogger("rag_service.requests"), RequestLine("/ask", "POST", 200, 1.0, "0" * 32, "answered"))
print("answered")
"""


def run(style: LogFormat, stderr: int) -> tuple[int, str]:
    command = [sys.executable, "-c", PROGRAM, style]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # the harder case
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60, check=False, env=buffered)
    return done.returncode, done.stdout


def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def without_a_reader() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize("stderr", [full, without_a_reader])
def test_a_log_that_cannot_be_written_breaks_nothing(style: LogFormat, stderr: Callable[[], int]) -> None:
    descriptor = stderr()
    try:
        assert run(style, descriptor) == (0, "answered\n")
    finally:
        os.close(descriptor)


def test_a_process_without_standard_error_goes_on() -> None:
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", PROGRAM, "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "answered\n")


def test_lines_of_a_process_reach_its_standard_error() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, "json"], capture_output=True, timeout=60, check=True)
    found = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert found[:2] == ["line 0", "POST /ask 200 answered 1.0 ms"]
    assert len(found) == 4000


SECRETS = ("joe.doe@example.com", "sk-proj-abcdefghijklmnopqrstuvwxyz123456", "+49 30 1234567", "DE89 3704 0044 0532 0130 00")


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_masked_wherever_a_line_could_hold_one(form: LogFormat, secret: str) -> None:
    stream = BytesIO()
    configure_logging("info", form, log_questions=True, stream=stream)
    try:
        logger = logging.getLogger("rag_service.test")
        logger.info("refused by the provider: %s", f"no such user: {secret}")
        logger.warning("with fields", extra=fields(detail=f"sent by {secret}"))
        try:
            raise ValueError(f"cannot use {secret} here")
        except ValueError:
            logger.exception("it failed")
        log_request(
            logger,
            RequestLine(route="/ask", method="POST", status=200, duration_ms=1.0, trace_id="0" * 32, outcome="answered",
                        request_id=secret.replace(" ", ""), question=f"Is {secret} known?"),
        )  # fmt: skip
    finally:
        logging.captureWarnings(False)
    shown = stream.getvalue().decode()
    assert "█" in shown
    assert secret not in shown
    assert secret.replace(" ", "") not in shown
