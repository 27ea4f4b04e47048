"""An encoder on disk is what its digest says, or it is refused."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_service.chunking import ChunkParameters, make_chunker
from rag_service.embedders.encoder import DEFAULT_ENCODER, ENCODER_FILE, PINS, EncoderCard, read_card, room_tokens, verified_card
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.embedders.sentence_transformers import locate
from rag_service.errors import Damaged, Mismatch, NotFound, PassageTooLong
from rag_service.loading.text import load_text
from rag_service.types import Document

FILES = ["encoder.json", "model.onnx", "tokenizer.json"]


@pytest.fixture
def copy(tmp_path: Path, encoder_folder: Path) -> Path:
    """The encoder under its own id, to be damaged."""
    return Path(shutil.copytree(encoder_folder, tmp_path / encoder_folder.name))


def variant(folder: Path, target: Path, **changed: Any) -> Path:
    """The encoder with another card, sound and under its own id."""
    card = read_card(folder).model_copy(update=changed)
    made = target / card.id
    made.mkdir()
    for name in card.files:
        (made / name).symlink_to(folder / name)
    (made / ENCODER_FILE).write_bytes(card.canonical())
    return made


def test_an_encoder_folder_holds_its_card_and_the_files_that_it_lists(encoder_folder: Path) -> None:
    card = verified_card(encoder_folder)
    assert sorted([ENCODER_FILE, *card.files]) == sorted(path.name for path in encoder_folder.iterdir()) == FILES
    assert (card.id, card.name, card.dimension, card.window_tokens) == (encoder_folder.name, DEFAULT_ENCODER, 384, 256)


def test_the_card_names_the_published_bytes_that_it_was_made_from(encoder_folder: Path) -> None:
    pin = PINS[DEFAULT_ENCODER]
    source = read_card(encoder_folder).source
    assert (source.repository, source.revision, source.files) == (pin.repository, pin.revision, pin.sha256)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("place", [0.0, 0.37, 0.999])
def test_one_flipped_bit_in_any_file_of_an_encoder_is_found(copy: Path, file: str, place: float) -> None:
    path = copy / file
    with path.open("r+b") as opened:
        opened.seek(int(place * path.stat().st_size))
        [byte] = opened.read(1)
        opened.seek(-1, 1)
        opened.write(bytes([byte ^ 1]))
    with pytest.raises(Damaged, match=file.replace(".", r"\.")):
        OnnxEmbedder.open(copy)


def test_a_missing_file_or_card_is_named(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(Damaged, match=r"tokenizer\.json is damaged: it is missing"):
        OnnxEmbedder.open(copy)
    (copy / ENCODER_FILE).unlink()
    with pytest.raises(NotFound, match=copy.name):
        OnnxEmbedder.open(copy)


def test_a_number_beyond_canonical_json_is_damage(copy: Path) -> None:
    path = copy / ENCODER_FILE
    path.write_text(path.read_text().replace('"dimension":384', '"dimension":99999999999999999999'))
    with pytest.raises(Damaged):
        read_card(copy)


def test_a_sound_encoder_under_another_id_is_refused(copy: Path) -> None:
    other = copy.with_name("0123456789ab")
    copy.rename(other)
    with pytest.raises(Damaged, match="0123456789ab"):
        OnnxEmbedder.open(other)


def test_a_sound_card_over_a_model_that_does_not_load_is_refused(tmp_path: Path, encoder_folder: Path) -> None:
    card = read_card(encoder_folder)
    files = card.files | {"model.onnx": card.files["tokenizer.json"]}
    made = variant(encoder_folder, tmp_path, files=files)
    (made / "model.onnx").unlink()
    (made / "model.onnx").symlink_to(encoder_folder / "tokenizer.json")
    with pytest.raises(Damaged, match="does not load"):
        OnnxEmbedder.open(made)


CHANGES: dict[str, Any] = {
    "name": "other",
    "source": {"repository": "other", "revision": None, "files": {}},
    "dimension": 385,
    "window_tokens": 128,
    "pooling": "cls",
    "query_prefix": "query: ",
    "passage_prefix": "passage: ",
    "precision": "fp32",
    "files": {},
}


def test_an_encoders_digest_changes_with_every_field_of_its_card(encoder_folder: Path) -> None:
    card = read_card(encoder_folder)
    values = card.model_dump(mode="json", by_alias=True)
    assert set(CHANGES) == set(EncoderCard.model_fields) - {"schema_"}
    digests = {EncoderCard.model_validate(values | {field: value}).digest for field, value in CHANGES.items()}
    assert len(digests | {card.digest}) == len(CHANGES) + 1


@pytest.mark.parametrize("file", sorted(PINS[DEFAULT_ENCODER].sha256))
def test_weights_that_are_not_the_published_ones_are_refused(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    pin = PINS[DEFAULT_ENCODER]
    monkeypatch.setitem(PINS, DEFAULT_ENCODER, replace(pin, sha256=pin.sha256 | {file: "0" * 64}))
    with pytest.raises(Mismatch, match=f"{file} of {DEFAULT_ENCODER} is not the published file"):
        locate(DEFAULT_ENCODER)


def test_a_model_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no model folder"):
        locate(str(tmp_path / "missing" / "model"))


def test_a_model_folder_is_known_by_the_digests_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    folder, source = locate(str(tmp_path))
    assert folder == tmp_path
    # FIPS 180-2, B.1
    assert source.files == {"model.safetensors": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}


def test_prefixes_take_their_room_from_the_window() -> None:
    def count(text: str) -> int:
        return len(text.split()) + 2

    assert room_tokens(256, ("", ""), count) == 256
    assert room_tokens(256, ("query: ", "this is a passage: "), count) == 252
    assert room_tokens(256, (), count) == 256


def test_chunks_for_an_encoder_with_prefixes_still_fit_its_window(tmp_path: Path, encoder_folder: Path) -> None:
    embedder = OnnxEmbedder.open(variant(encoder_folder, tmp_path, query_prefix="query: ", passage_prefix="this is a passage: "))
    window = embedder.tokenizer.window_tokens
    assert window == 256 - 5  # "this is a passage :"
    document = next(load_text(("word " * 2000).encode(), "a.txt"))
    assert isinstance(document, Document)
    chunks = make_chunker(embedder.tokenizer, ChunkParameters(window, 0, "headings"))(document)
    assert embedder.embed_passages([chunk.embedded_text for chunk in chunks]).shape[0] == len(chunks)
    assert embedder.embed_passages(["word " * (window - 2)]).shape[0] == 1
    with pytest.raises(PassageTooLong):
        embedder.embed_passages(["word " * (window - 1)])


def test_prefixes_reach_the_model(tmp_path: Path, encoder_folder: Path, embedder: OnnxEmbedder) -> None:
    prefixed = OnnxEmbedder.open(variant(encoder_folder, tmp_path, query_prefix="query: ", passage_prefix="passage: "))
    assert np.array_equal(prefixed.embed_query("trains"), embedder.embed_query("query: trains"))
    assert np.array_equal(prefixed.embed_passages(["trains"]), embedder.embed_passages(["passage: trains"]))


def test_several_threads_embed_what_one_embeds(encoder_folder: Path, embedder: OnnxEmbedder) -> None:
    texts = [f"sentence number {number}" for number in range(20)]
    assert np.array_equal(OnnxEmbedder.open(encoder_folder, threads=3).embed_passages(texts), embedder.embed_passages(texts))
