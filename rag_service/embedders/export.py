"""Export a sentence-transformers model to the folder that `onnx.OnnxEmbedder` serves.

Pooling and normalisation go into the graph, the attention mask goes out of it (one unpadded text at a time has nothing to mask; that
is also what lets onnxruntime fuse whole attention blocks), and int8 weights are quantised per output channel. The export is refused
unless it gives the vectors of the original.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_service.embedders.encoder import ENCODER_FILE, MODEL_FILE, TOKENIZER_FILE, EncoderCard, Precision
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.embedders.sentence_transformers import SentenceTransformersEmbedder, plain_tokenizer
from rag_service.errors import Mismatch
from rag_service.ports import Tokenizer
from rag_service.stored import list_files

if TYPE_CHECKING:
    import torch

_OPSET = 17

LEAST_COSINE: dict[Precision, float] = {"fp32": 0.9999, "int8": 0.95}
"""Least cosine between an original and an exported vector over `_PROBES`. int8 of all-MiniLM-L6-v2 keeps 0.98 and more."""

_PROBES = (
    "a",
    "How do I declare a path parameter with a type?",
    "Rolling back restores the release that was active before.",
    "Der Vertrag kann mit einer Frist von drei Monaten gekündigt werden.",
    "Una devolución se acepta durante treinta días.",
    "Возврат возможен в течение тридцати дней.",
    "三十天内可以退货。返品は三十日以内です。",
    "يمكن إرجاع المنتج خلال ثلاثين يوما.",
    "0.8675 nDCG@10 at k=10, 5.7 × less CPU; see § 3.2 (table 4).",
    "def read_item(item_id: int) -> dict[str, int]:\n    return {'item_id': item_id}",
    " ".join(f"sentence number {n} about indexes and releases." for n in range(20)),
)


def export_encoder(name: str, folder: Path, *, precision: Precision) -> EncoderCard:
    """Writes the files of encoder `name` into the existing, empty `folder`, and checks them against the original.

    Raises what `SentenceTransformersEmbedder.open` raises, and `Mismatch` when the exported vectors differ too much.
    """
    reference = SentenceTransformersEmbedder.open(name)
    model = folder / MODEL_FILE
    _export_graph(reference, model)
    _fuse(reference, model)
    if precision == "int8":
        _quantise(model)
    plain_tokenizer(reference.model).save(str(folder / TOKENIZER_FILE))
    card = EncoderCard(
        name=reference.name,
        source=reference.source,
        dimension=reference.dimension,
        window_tokens=reference.window_tokens,
        pooling=_pooling(reference),
        query_prefix=reference.query_prefix,
        passage_prefix=reference.passage_prefix,
        precision=precision,
        files=list_files(folder, [MODEL_FILE, TOKENIZER_FILE]),
    )
    (folder / ENCODER_FILE).write_bytes(card.canonical())
    return card


def check_agreement(name: str, folder: Path, *, precision: Precision) -> float:
    """The least cosine between the original's vectors and the exported encoder's. Raises `Mismatch` below `LEAST_COSINE`."""
    reference = SentenceTransformersEmbedder.open(name)
    probes = [_fitting(probe, reference.tokenizer) for probe in _PROBES]
    exported = OnnxEmbedder.open(folder).embed_passages(probes)
    least = float(np.einsum("nd,nd->n", reference.embed_passages(probes), exported).min())
    if least < LEAST_COSINE[precision]:
        raise Mismatch(
            f"the {precision} export of {name} does not give its vectors: least cosine {least:.4f}, needed {LEAST_COSINE[precision]}",
            hint="export with --precision fp32" if precision == "int8" else "use RAG_EMBEDDER=sentence_transformers for this model",
        )
    return least


def _fitting(text: str, tokenizer: Tokenizer) -> str:
    """The beginning of a text that the encoder can read whole."""
    while tokenizer.count(text) > tokenizer.window_tokens:
        text = text[: len(text) * 3 // 4]
    return text


def _export_graph(reference: SentenceTransformersEmbedder, target: Path) -> None:
    import torch

    class OneText(torch.nn.Module):  # type: ignore[misc]  # torch is not followed: it would be most of the check
        """Token ids of one unpadded text, shape (1, tokens), to its unit vector, shape (1, dim)."""

        def __init__(self) -> None:
            super().__init__()
            self.model = reference.model

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            features: dict[str, Any] = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
            embedding: torch.Tensor = self.model(features)["sentence_embedding"]
            return torch.nn.functional.normalize(embedding, dim=-1)

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracer notes on shapes that one text at a time fixes, and the exporter's own deprecation
        torch.onnx.export(
            OneText().eval(),
            (torch.ones(1, 17, dtype=torch.long),),
            str(target),
            input_names=["input_ids"],
            output_names=["embedding"],
            dynamic_axes={"input_ids": {1: "tokens"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def _fuse(reference: SentenceTransformersEmbedder, model: Path) -> None:
    """Fuses attention, GELU and layer norms of BERT-like models; others stay as they were exported."""
    config = reference.model[0].auto_model.config
    if config.model_type not in {"bert", "roberta", "xlm-roberta", "mpnet", "distilbert"}:
        return
    from onnxruntime.transformers import optimizer

    fused = optimizer.optimize_model(
        str(model), model_type="bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size, opt_level=0
    )
    fused.save_model_to_file(str(model))


def _quantise(model: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().addFilter(_without_preprocessing_advice)
    try:
        quantize_dynamic(
            model,
            model,
            weight_type=QuantType.QInt8,
            per_channel=True,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # fused operators carry no type information
        )
    finally:
        logging.getLogger().removeFilter(_without_preprocessing_advice)


def _without_preprocessing_advice(record: logging.LogRecord) -> bool:
    """The quantiser advises a pre-processing step that the fused graph has already had."""
    return "pre-processing before quantization" not in record.getMessage()


def _pooling(reference: SentenceTransformersEmbedder) -> str:
    names = [type(module).__name__ for module in reference.model]
    for module in reference.model:
        if type(module).__name__ == "Pooling":
            return json.dumps(module.get_config_dict(), sort_keys=True)
    return "+".join(names)
