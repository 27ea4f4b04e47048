"""Bytes to characters, for the formats that are text."""

import codecs

from rag_service.types import Skipped

_BYTE_ORDER_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_CONTROL_BYTES = bytes(set(range(0x20)) - set(b"\t\n\r\f\x1b")) + b"\x7f"

_MAX_CONTROL_SHARE = 0.02
"""Of the bytes of a text in an old 8-bit encoding. Random bytes have 0.11."""


def decode(data: bytes) -> str | None:
    """Characters of `data`, or None if it is not text.

    A byte order mark decides; else UTF-8; else, if there is no NUL and hardly a control character, Windows-1252 or Latin-1.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _strictly(data, encoding)
    if b"\x00" in data:
        return None
    text = _strictly(data, "utf-8")
    if text is not None:
        return text
    if len(data) - len(data.translate(None, _CONTROL_BYTES)) > _MAX_CONTROL_SHARE * len(data):
        return None
    text = _strictly(data, "cp1252")  # leaves five bytes undefined
    return data.decode("latin-1") if text is None else text


def binary(source: str) -> Skipped:
    """The report on a file for which `decode` gave None."""
    return Skipped(source, "binary", "not text in UTF-8, UTF-16 or an 8-bit encoding")


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text
