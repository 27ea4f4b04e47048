"""A multilingual encoder is one setting away: a tiny XLM-RoBERTa with random weights and a real Unigram tokenizer, made here.

What it retrieves means little; that it is exported, that its window and tokens are respected and that questions in five languages go the
whole way does not depend on trained weights.
"""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer

from rag_service.catalog import Catalog
from rag_service.chunking import ChunkParameters, make_chunker
from rag_service.embedders.encoder import read_card
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.embedders.sentence_transformers import SentenceTransformersEmbedder
from rag_service.loading.text import load_text
from rag_service.question import Question
from rag_service.settings import load_settings
from rag_service.types import Document
from rag_service.wiring.encoders import export_encoder
from rag_service.wiring.releases import make_release, open_release
from tests.conftest import Build, Cli

POSITIONS = 66
WINDOW = POSITIONS - 2
"""Positions are counted from behind the padding token, whose number is 1."""

SPOKEN = {
    "de": (
        "Der Vertrag|Die Kündigung|Das Angebot|Der Urlaub|Die Rechnung|Die Lieferung|Der Schlüssel|Das Büro",
        "gilt bis Freitag|beginnt am Montag|wurde heute geprüft|ist für alle Größen verfügbar|kostet fünf Euro|muss schriftlich sein|"
        "bleibt über Nacht hier|endet nach zwei Wochen",
        "{} {}.",
    ),
    "es": (
        "El contrato|La devolución|La oferta|El viaje|La factura|El envío|La llave|La oficina",
        "termina el viernes|empieza mañana|se revisó hoy|está disponible para los niños|cuesta cinco euros|debe ser por escrito|"
        "se queda aquí|dura dos años",
        "{} {}.",
    ),
    "ru": (
        "Договор|Возврат|Отпуск|Счёт|Ключ|Заказ|Отчёт|Поезд",
        "действует до пятницы|начинается в понедельник|проверен сегодня|доступен всем сотрудникам|стоит пять евро|нужен в письменной форме|"
        "остаётся здесь|кончается через две недели",
        "{} {}.",
    ),
    "zh": (
        "合同|退货|报价|假期|发票|钥匙|办公室|火车",
        "星期五结束|下周一开始|今天检查过了|对所有员工开放|价格是五欧元|必须是书面的|今晚留在这里|两个星期以后到",
        "{}{}。",
    ),
    "ar": (
        "العقد|المفتاح|العرض|السفر|المكتب|الطلب|التقرير|القطار",
        "ينتهي يوم الجمعة|يبدأ غدا|تمت مراجعته اليوم|متاح لجميع الموظفين|ثمنه خمسة يورو|يجب أن يكون مكتوبا|يبقى هنا الليلة|يصل بعد أسبوعين",
        "{} {}.",
    ),
}
SENTENCES = {
    language: [form.format(subject, rest) for subject, rest in product(subjects.split("|"), rests.split("|"))]
    for language, (subjects, rests, form) in SPOKEN.items()
}
QUESTIONS = {
    "de": "Bis wann gilt der Vertrag?",
    "es": "¿Cuándo termina el contrato?",
    "ru": "До какого дня действует договор?",
    "zh": "合同什么时候结束？",
    "ar": "متى ينتهي العقد؟",
}


def trained_vocabulary() -> list[tuple[str, float]]:
    """Pieces with their scores, in the order of XLM-RoBERTa's special tokens."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = UnigramTrainer(vocab_size=900, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)
    texts = [sentence for spoken in SENTENCES.values() for sentence in spoken]
    tokenizer.train_from_iterator([*texts, *QUESTIONS.values(), "query: passage: > ?"], trainer)
    return [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as sentence-transformers saves it, without a window of its own and with prefixes as E5 has them."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizer

    folder = tmp_path_factory.mktemp("model")
    tokenizer = XLMRobertaTokenizer(vocab=trained_vocabulary())
    torch.manual_seed(7)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
    )
    bare = XLMRobertaModel(config)
    with torch.no_grad():
        bare.embeddings.word_embeddings.weight.mul_(20)  # words count more than their places: the same words give similar vectors
    bare.save_pretrained(folder / "bare")
    tokenizer.save_pretrained(folder / "bare")
    modules = [Transformer(str(folder / "bare")), Pooling(48), Normalize()]
    made = SentenceTransformer(modules=modules, prompts={"query": "query: ", "document": "passage: "})
    made.save(str(folder / "tiny-multilingual"), create_model_card=False)
    return folder / "tiny-multilingual"


@pytest.fixture(scope="module")
def reference(model: Path) -> SentenceTransformersEmbedder:
    return SentenceTransformersEmbedder.open(str(model))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One page for each language."""
    folder = tmp_path_factory.mktemp("pages")
    for language, spoken in SENTENCES.items():
        (folder / f"{language}.md").write_text("\n\n".join(" ".join(spoken[at : at + 8]) for at in range(0, len(spoken), 8)), "utf-8")
    return folder


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of indexes with the encoder in it."""
    root = tmp_path_factory.mktemp("indexes")
    export_encoder(load_settings({}, indexes=root, encoder=str(model), precision="fp32"), Catalog(root))
    return root


def encoder_in(root: Path) -> Path:
    [folder] = (path for path in (root / "encoders").iterdir() if path.is_dir())
    return folder


def test_the_window_of_a_model_is_what_its_positions_allow(reference: SentenceTransformersEmbedder) -> None:
    assert reference.window_tokens == WINDOW
    assert np.isfinite(reference.embed_query("Vertrag " * 500)).all()


def test_the_export_gives_the_vectors_of_the_original(exported: Path, reference: SentenceTransformersEmbedder) -> None:
    embedder = OnnxEmbedder.open(encoder_in(exported))
    card = read_card(encoder_in(exported))
    assert (card.window_tokens, card.query_prefix, card.passage_prefix) == (WINDOW, "query: ", "passage: ")
    texts = [sentence for spoken in SENTENCES.values() for sentence in spoken[::8]]
    assert np.einsum("nd,nd->n", reference.embed_passages(texts), embedder.embed_passages(texts)).min() > 0.9999
    asked = [*QUESTIONS.values(), "Vertrag " * 500, "合同" * 500, ""]
    assert np.einsum("nd,nd->n", reference.embed_queries(asked), embedder.embed_queries(asked)).min() > 0.9999
    assert [embedder.tokenizer.count(text) for text in asked] == [reference.tokenizer.count(text) for text in asked]


def test_the_command_exports_it_and_int8_is_near_enough(model: Path, tmp_path: Path, cli: Cli) -> None:
    outcome = cli("encoder", "export", model, "--indexes", tmp_path / "indexes")
    assert outcome.code == 0, outcome.err
    assert f"window {WINDOW} tokens" in outcome.out
    assert read_card(encoder_in(tmp_path / "indexes")).precision == "int8"


def test_no_text_becomes_unknown_tokens_alone(exported: Path) -> None:
    tokenizer = Tokenizer.from_file(str(encoder_in(exported) / "tokenizer.json"))
    for text in [*QUESTIONS.values(), *(sentence for spoken in SENTENCES.values() for sentence in spoken)]:
        tokens = tokenizer.encode(text).tokens[1:-1]
        assert len(tokens) > 3
        assert "<unk>" not in tokens, text


@pytest.mark.parametrize("language", sorted(SPOKEN))
def test_chunks_in_any_language_fit_the_window(exported: Path, language: str) -> None:
    embedder = OnnxEmbedder.open(encoder_in(exported))
    window = embedder.tokenizer.window_tokens
    document = next(load_text(" ".join(SENTENCES[language] * 3).encode(), "page.txt"))
    assert isinstance(document, Document)
    chunks = make_chunker(embedder.tokenizer, ChunkParameters(window, 0, "headings"))(document)
    assert len(chunks) > 5
    assert embedder.embed_passages([chunk.embedded_text for chunk in chunks]).shape == (len(chunks), 48)
    assert max(chunk.tokens for chunk in chunks) > window // 2  # and are not crumbs


def test_questions_in_five_languages_find_and_quote_their_pages(exported: Path, model: Path, source: Path, build: Build) -> None:
    chosen = {"encoder": str(model), "precision": "fp32", "chunk_tokens": 48}
    manifest = build(exported, source, "pages", **chosen).manifest
    assert manifest.encoder.name == "tiny-multilingual"
    settings, catalog = load_settings({}, indexes=exported, **chosen), Catalog(exported)
    pipeline = open_release(settings, catalog, "pages", make_release(settings, catalog, "pages", manifest.version)).pipeline
    for language, spoken in SENTENCES.items():
        record = pipeline.ask(Question(spoken[0], min_confidence=0))  # random weights are sure of nothing
        assert record.hits[0].chunk.document_id == f"{language}.md"
        assert spoken[0] in (record.answer or ""), language
        assert record.citations[0].quote in record.citations[0].chunk.text
        assert pipeline.ask(Question(QUESTIONS[language])).status in ("answered", "abstained")
