"""Builders of input files. Each is a fixture that gives a function, so that tests state what the file holds."""

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.loading.inspection import PdfBuilder, Writer


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Writes a file below `tmp_path/in`, with the folders above it."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture
def make_pdf() -> PdfBuilder:
    """PDF 1.4 by hand: one list of lines a page; a page of no lines has no text layer."""
    return build_pdf


def build_pdf(pages: Sequence[Sequence[str]], title: str = "") -> bytes:
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for index, lines in enumerate(pages):
        shown = "".join(f"({line}) Tj 0 -14 Td " for line in lines)
        stream = f"BT /F1 12 Tf 72 720 Td {shown}ET".encode("cp1252")
        bodies.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * index} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        bodies.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    bodies.append(f"<< /Title ({title}) >>".encode("cp1252"))
    return _assemble(bodies)


def _assemble(bodies: Sequence[bytes]) -> bytes:
    """Numbers the objects from 1; the last is the document information."""
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(bodies, start=1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    table = out.tell()
    size = len(bodies) + 1
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % size)
    for offset in offsets:
        out.write(b"%010d 00000 n \n" % offset)
    out.write(b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, size - 1, table))
    return out.getvalue()


@pytest.fixture
def zip_of_zeros() -> Callable[[int], bytes]:
    """A zip archive, small itself, with one entry of so many zero bytes."""

    def build(size_bytes: int) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("word/document.xml", "w") as entry:
            for _ in range(size_bytes // 1_000_000):
                entry.write(bytes(1_000_000))
        return out.getvalue()

    return build
