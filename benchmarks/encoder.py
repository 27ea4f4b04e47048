"""CPU per question and per passage: the exported int8 encoder against sentence-transformers on torch.

One process, both on one thread, rounds interleaved, so that a change of the machine's speed touches both. What is compared is CPU time
of the process (user and system), and the ratio within each round; the median over the rounds is what counts.
"""

import statistics
import time
from collections.abc import Callable

from benchmarks.inputs import default_settings, encoder_folder
from rag_service.embedders.onnx import OnnxEmbedder

ROUNDS = 40

QUESTIONS = [
    "How do I declare a path parameter with a type?",
    "What happens when the index and the encoder do not belong together?",
    "Which release answers after a rollback, and who activated it?",
    "When did the 1973 oil crisis begin and which countries proclaimed it?",
]
_SENTENCES = (
    "The index version is named by the digest of its manifest, and the manifest lists every file with its size. ",
    "A request pins one release at its beginning and keeps it until its answer is written. ",
    "Chunks never cross a heading, and blocks are kept whole where they fit into the encoder's window. ",
    "Vectors of one text never depend on the other texts that are embedded with it. ",
)
PASSAGES = ["".join(_SENTENCES[(start + offset) % 4] for offset in range(5)) for start in range(4)]


def run() -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    from rag_service.embedders.encoder import DEFAULT_ENCODER
    from rag_service.embedders.sentence_transformers import locate

    torch.set_num_threads(1)
    reference = SentenceTransformer(str(locate(DEFAULT_ENCODER)[0]), device="cpu")
    exported = OnnxEmbedder.open(encoder_folder(default_settings()))
    print(f"{exported.runtime} against sentence-transformers on torch {torch.__version__}, {ROUNDS} interleaved rounds, one thread")
    print(f"passages of {exported.tokenizer.count(PASSAGES[0])} tokens, questions of about {exported.tokenizer.count(QUESTIONS[0])}")
    _compare("question", QUESTIONS, exported.embed_query, lambda text: reference.encode(text, normalize_embeddings=True))
    _compare(
        "passage, one at a time",
        PASSAGES,
        lambda text: exported.embed_passages([text]),
        lambda text: reference.encode(text, normalize_embeddings=True),
    )
    _compare(
        "passage, torch in batches of 32",
        PASSAGES * 8,
        lambda text: exported.embed_passages([text]),
        lambda texts: reference.encode(texts, normalize_embeddings=True, batch_size=32),
        together=True,
        rounds=ROUNDS // 8,
    )


def _compare(
    what: str,
    texts: list[str],
    ours: Callable[..., object],
    theirs: Callable[..., object],
    *,
    together: bool = False,
    rounds: int = ROUNDS,
) -> None:
    for text in texts[:2]:
        ours(text), theirs(text)
    pairs = [
        (_cpu_ms(ours, texts), _cpu_ms(theirs, [texts] if together else texts) * (1 / len(texts) if together else 1)) for _ in range(rounds)
    ]
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(other / mine for mine, other in pairs)
    print(f"{what:<34} ours {mine:6.2f}  torch {other:6.2f} CPU-ms each   {ratio:.1f} × less")


def _cpu_ms(embed: Callable[..., object], inputs: list[str] | list[list[str]]) -> float:
    """Mean over the inputs."""
    began = time.process_time()
    for item in inputs:
        embed(item)
    return (time.process_time() - began) * 1000 / len(inputs)
