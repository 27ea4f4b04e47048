"""Log lines on standard error, for people (`text`) or for programs (`json`).

Text: a line that begins at the margin is one event; what continues it, a traceback, is indented. JSON: one line, one object, with `time`,
`level`, `logger` and `message`, `trace_id` and `span_id` where there are any, `exception` with `type`, `message` and `stack`, and the
fields of `fields()` and `RequestLine` beside them. Nothing that is logged can break out of its line, or make it longer than `MAX_BYTES`.

What cannot be written is lost without a word: a log that is full or closed must not break a request.
"""

import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from functools import lru_cache
from traceback import format_exception
from typing import BinaryIO, Literal, cast

import orjson
from opentelemetry import trace

from rag_service.redaction import redact

LogFormat = Literal["text", "json"]
Scalar = str | int | float | bool | None

MAX_BYTES = 16_384
"""Of one event, its line end included."""

_CUT = "… [cut]"
_FIELDS, _REQUEST = "rag_fields", "rag_request"
_OWN = "rag_service"
_AT_LEAST_WARNING = ("uvicorn.error", "httpx")
"""Their `info` is a line for each start, or for each request to a provider."""

# C0, DEL and C1 control characters, line and paragraph separators, and what turns the direction of writing.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_UNSAFE_IN_A_TRACEBACK = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_UNSAFE_IN_JSON = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]")
"""The same in UTF-8, without C0, which JSON escapes of itself."""
_WORD = re.compile(r"[\w.:/{}@+-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request, at the end of its reply. What is None is left out."""

    route: str
    """The template that it matched, such as `/traces/{id}`."""
    method: str
    status: int
    duration_ms: float
    trace_id: str
    outcome: str
    """`answered`, `abstained`, `ok` for what asks nothing, or the code of an error."""
    request_id: str | None = None
    answer_id: str | None = None
    release: str | None = None
    abstain_reason: str | None = None
    key_id: str | None = None
    cached: bool | None = None
    question: str | None = field(default=None, repr=False)
    """Only logged where `configure_logging` was told so."""


_WITH_QUESTION = tuple(each.name for each in dataclass_fields(RequestLine) if each.name != "trace_id")
_WITHOUT_QUESTION = tuple(name for name in _WITH_QUESTION if name != "question")
_SAID = frozenset({"method", "route", "status", "outcome", "duration_ms"})
"""What stands in the message of a request's line."""


def configure_logging(level: str, format: LogFormat, *, log_questions: bool = False, stream: BinaryIO | None = None) -> None:  # noqa: A002
    """Sends what this process logs to `stream`, standard error if None, in place of what an earlier call or a library set up.

    `level` is debug, info, warning or error. Libraries stay at info even where it is debug, unless questions may be logged: clients of
    providers write whole prompts at that level.
    """
    own = logging.getLevelNamesMapping()[level.upper()]
    others = own if log_questions else max(own, logging.INFO)
    render = _json_line if format == "json" else _text_line
    _drop_stream_handlers()
    root = logging.getLogger()
    root.addHandler(_Lines(_standard_error() if stream is None else stream, lambda record: render(record, log_questions)))
    root.setLevel(others)
    logging.getLogger(_OWN).setLevel(own)
    for name in _AT_LEAST_WARNING:
        logging.getLogger(name).setLevel(max(others, logging.WARNING) if own > logging.DEBUG else others)
    logging.captureWarnings(True)


def fields(**values: Scalar) -> dict[str, object]:
    """For `extra=`, as in `logger.info("opened", extra=fields(release=id))`: keys in JSON, `release=…` after the message in text."""
    return {_FIELDS: values}


def log_request(logger: logging.Logger, line: RequestLine) -> None:
    """Logs at info, without looking for the caller: the place in the code says nothing, and finding it takes as long as the rest."""
    if logger.isEnabledFor(logging.INFO):
        message = f"{line.method} {line.route} {line.status} {line.outcome} {line.duration_ms:.1f} ms"
        record = logging.LogRecord(logger.name, logging.INFO, "", 0, message, None, None)
        setattr(record, _REQUEST, line)
        logger.handle(record)


class _Lines(logging.Handler):
    """One write for one event, past all buffers: what could not be written is not kept and tried again when the process ends."""

    def __init__(self, stream: BinaryIO, render: Callable[[logging.LogRecord], bytes]) -> None:
        super().__init__()
        self._stream = stream
        self._render = render

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # EPIPE, ENOSPC, a closed stream, an argument that cannot be shown: never the caller's trouble
            line = memoryview(self._render(record))
            while line:
                line = line[self._stream.write(line) or len(line) :]


def _standard_error() -> BinaryIO:
    buffer: object = getattr(sys.stderr, "buffer", None)
    return cast(BinaryIO, getattr(buffer, "raw", buffer))


def _drop_stream_handlers() -> None:
    """Handlers of exactly this type come from `basicConfig` and from libraries; whoever means more than a stream has a class for it."""
    root = logging.getLogger()
    known = [logger for logger in root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    for logger in (root, *known):
        for handler in [handler for handler in logger.handlers if type(handler) in (logging.StreamHandler, _Lines)]:
            logger.removeHandler(handler)
            logger.propagate = True


def _json_line(record: logging.LogRecord, log_questions: bool) -> bytes:
    values = _fields_of(record, log_questions)
    trace_id, span_id = _trace_of(record)
    shown: dict[str, object] = {
        "time": f"{_utc(int(record.created))}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _message(record),
    }
    if trace_id:
        shown["trace_id"] = trace_id
    if span_id:
        shown["span_id"] = span_id
    for name, value in values.items():
        if value is not None:
            shown.setdefault(name, value)
    if record.exc_info and (error := record.exc_info[1]):
        shown["exception"] = {"type": type(error).__qualname__, "message": redact(_head(str(error), MAX_BYTES)), "stack": _stack(record)}
    return _bounded_json(shown)


def _bounded_json(shown: Mapping[str, object]) -> bytes:
    """All of it if it fits, else with its texts cut to one length, which is halved until it does."""
    line = _dumped(shown)
    chars = MAX_BYTES // 4
    while len(line) > MAX_BYTES and chars:
        line = _dumped({**{name: _shortened(value, chars) for name, value in shown.items()}, "cut": True})
        chars //= 2
    return line if len(line) <= MAX_BYTES else _dumped({"time": shown["time"], "level": shown["level"], "cut": True})


def _dumped(shown: Mapping[str, object]) -> bytes:
    try:
        line = orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, from a client or a file name; an integer of more than 64 bits; something that is no `Scalar`
        line = orjson.dumps(_shortened(shown, MAX_BYTES), option=orjson.OPT_APPEND_NEWLINE)
    if len(line) > MAX_BYTES:  # comes again, shorter
        return line
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0].decode()):04x}".encode(), line)


def _shortened(value: object, chars: int) -> object:
    """What JSON can hold, with texts cut. Of a stack the end is kept: it says what happened; the beginning only says who asked."""
    if isinstance(value, Mapping):
        return {str(name): _tail(_unicode(part), chars) if name == "stack" else _shortened(part, chars) for name, part in value.items()}
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return _head(_unicode(value), chars)


def _text_line(record: logging.LogRecord, log_questions: bool) -> bytes:
    message = _message(record)
    values = {name: value for name, value in _fields_of(record, log_questions).items() if name not in _SAID}
    trace_id, _ = _trace_of(record)
    if trace_id and trace_id not in message:
        values["trace_id"] = trace_id
    fields_shown = "".join(f" {name}={_quoted(value)}" for name, value in values.items() if value is not None)
    shown = f"{_local(int(record.created))} {record.levelname} {record.name}: {message}{_head(fields_shown, MAX_BYTES)}"
    line = _escaped(_UNSAFE, shown)
    if not record.exc_info:
        return _first(line, MAX_BYTES - 1) + b"\n"
    line = _first(line, MAX_BYTES // 2) + b"\n"
    stack = _escaped(_UNSAFE_IN_A_TRACEBACK, "".join(f"  {part}\n" for part in _stack(record).split("\n") if part))
    return line + _last(stack, MAX_BYTES - len(line))


def _message(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except (TypeError, ValueError, KeyError):  # arguments that do not fit the message: better shown as they are than lost
        message = f"{record.msg} {record.args!r}"
    return redact(_head(message, MAX_BYTES))


def _fields_of(record: logging.LogRecord, log_questions: bool) -> Mapping[str, Scalar]:
    """With secrets masked in what others wrote: a question, the id of a request, what an error quotes."""
    line: RequestLine | None = getattr(record, _REQUEST, None)
    if line is None:
        given: Mapping[str, Scalar] = getattr(record, _FIELDS, None) or {}
        return {name: redact(value) if isinstance(value, str) else value for name, value in given.items()}
    values = {name: getattr(line, name) for name in (_WITH_QUESTION if log_questions else _WITHOUT_QUESTION)}
    for name in ("question", "request_id"):
        if isinstance(value := values.get(name), str):
            values[name] = redact(value)
    return {**values, "duration_ms": round(line.duration_ms, 3)}


def _trace_of(record: logging.LogRecord) -> tuple[str | None, str | None]:
    """Trace id and span id: what the record says of itself, else the span that this thread or task is in."""
    line: RequestLine | None = getattr(record, _REQUEST, None)
    own: str | None = line.trace_id if line else getattr(record, "trace_id", None)
    current = trace.get_current_span().get_span_context()
    if not current.is_valid:
        return own, None
    trace_id = trace.format_trace_id(current.trace_id)
    return (own, None) if own and own != trace_id else (trace_id, trace.format_span_id(current.span_id))


def _stack(record: logging.LogRecord) -> str:
    """The traceback; empty where there was no exception to show."""
    error = record.exc_info[1] if record.exc_info else None
    return redact(_tail("".join(format_exception(error)), MAX_BYTES)) if error else ""


def _quoted(value: Scalar) -> str:
    """As JSON has it, but words without quotes: what a caller sent cannot look like a field of its own."""
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    return orjson.dumps(_shortened(value, MAX_BYTES)).decode()


def _escaped(unsafe: re.Pattern[str], text: str) -> bytes:
    return unsafe.sub(lambda found: found[0].encode("unicode_escape").decode(), text).encode("utf-8", "backslashreplace")


def _unicode(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


def _head(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[:chars] + _CUT


def _tail(text: str, chars: int) -> str:
    return text if len(text) <= chars else _CUT + text[-chars:]


def _first(data: bytes, size: int) -> bytes:
    if len(data) <= size:
        return data
    return data[: size - len(_CUT.encode())].decode("utf-8", "ignore").encode() + _CUT.encode()


def _last(data: bytes, size: int) -> bytes:
    if len(data) <= size:
        return data
    mark = f"  {_CUT}\n  ".encode()
    return mark + data[len(mark) - size :].decode("utf-8", "ignore").encode()


@lru_cache(maxsize=4)
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(maxsize=4)
def _local(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
