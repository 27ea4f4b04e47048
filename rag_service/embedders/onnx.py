"""The default embedder: onnxruntime and tokenizers, no torch.

One text at a time: a vector then depends on nothing but its text, which replay needs, and batch 1 is also onnxruntime's fastest
point on a CPU (padding costs more than it saves). Several threads may call at once; each call uses one core.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from rag_service.embedders.encoder import MODEL_FILE, TOKENIZER_FILE, EncoderCard, room_tokens, verified_card
from rag_service.errors import Damaged, PassageTooLong
from rag_service.types import Matrix, Vector


class OnnxTokenizer:
    """The encoder's own tokenizer, without its truncation and padding."""

    def __init__(self, tokenizer: Tokenizer, *, window_tokens: int, prefixes: Sequence[str] = ()) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.window_tokens = room_tokens(window_tokens, prefixes, self.count)

    def ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text).ids)

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text))


class OnnxEmbedder:
    """Runs an exported encoder. Make one with `open`."""

    def __init__(self, card: EncoderCard, session: onnxruntime.InferenceSession, tokenizer: Tokenizer, *, threads: int) -> None:
        self._card = card
        self._session = session
        prefixes = (card.query_prefix, card.passage_prefix)
        self._tokenizer = OnnxTokenizer(tokenizer, window_tokens=card.window_tokens, prefixes=prefixes)
        self._threads = threads

    @classmethod
    def open(cls, folder: Path, *, threads: int = 1) -> "OnnxEmbedder":
        """Verifies and loads an encoder folder. `threads`: texts that one call embeds at once, one core each.

        Raises `NotFound` or `Damaged`.
        """
        card = verified_card(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # the arena keeps the largest request's memory for good
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"])
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        except Exception as error:
            raise Damaged(
                f"encoder {card.id} ({card.name}) does not load: {type(error).__name__}",
                hint=f"onnxruntime {onnxruntime.__version__} may be too old for it; export the encoder again",
            ) from error
        return cls(card, session, tokenizer, threads=threads)

    @property
    def name(self) -> str:
        return self._card.name

    @property
    def digest(self) -> str:
        return self._card.digest

    @property
    def revision(self) -> str | None:
        return self._card.source.revision

    @property
    def dimension(self) -> int:
        return self._card.dimension

    @property
    def runtime(self) -> str:
        return f"onnxruntime {onnxruntime.__version__} {self._card.precision}"

    @property
    def tokenizer(self) -> OnnxTokenizer:
        return self._tokenizer

    def embed_query(self, text: str) -> Vector:
        ids = self._tokenizer.ids(self._card.query_prefix + text)
        window = self._card.window_tokens
        return self._run(ids if len(ids) <= window else [*ids[: window - 1], ids[-1]])

    def embed_queries(self, texts: Sequence[str]) -> Matrix:
        return self._rows(self.embed_query, texts)

    def embed_passages(self, texts: Sequence[str]) -> Matrix:
        return self._rows(self._embed_passage, texts)

    def _rows(self, embed: Callable[[str], Vector], texts: Sequence[str]) -> Matrix:
        if self._threads == 1 or len(texts) < 2:
            rows = [embed(text) for text in texts]
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                rows = list(pool.map(embed, texts))
        return np.stack(rows) if rows else np.empty((0, self.dimension), np.float32)

    def _embed_passage(self, text: str) -> Vector:
        ids = self._tokenizer.ids(self._card.passage_prefix + text)
        if len(ids) > self._card.window_tokens:
            raise PassageTooLong(
                f"a passage has {len(ids)} tokens; {self.name} reads {self._card.window_tokens}", hint="lower RAG_CHUNK_TOKENS"
            )
        return self._run(ids)

    def _run(self, ids: list[int]) -> Vector:
        vector: Vector = self._session.run(None, {"input_ids": np.array([ids], np.int64)})[0][0]
        return vector
