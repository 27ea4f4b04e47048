"""Every name that spans use, in one place, because the conventions behind them still move.

`gen_ai.*` is the OpenTelemetry convention for generative AI, which has no stable release; `openinference.*`, `llm.*`, `embedding.*`,
`retrieval.*`, `input.*` and `output.*` are OpenInference, which Phoenix reads; `http.*`, `url.*`, `error.*`, `container.*`, `vcs.*`,
`deployment.*` and `service.*` are OpenTelemetry's stable ones. No convention has names for the identity of an index, an encoder or a
prompt: those are `rag.*`, ours.
"""

from typing import Final

from rag_service.record import StageName

SEMCONV_GENAI: Final = "semantic-conventions-genai 024a4f94"
"""Commit of the convention's repository that these names were read from."""
OPENINFERENCE: Final = "0.1.42"
SCOPE: Final = "rag_service"

# spans
ASK: Final = "ask"
SEARCH: Final = "search"
INVOKE_WORKFLOW: Final = "invoke_workflow"
EMBEDDINGS: Final = "embeddings"
RETRIEVAL: Final = "retrieval"
CHAT: Final = "chat"
STAGES: Final[dict[StageName, str]] = {
    "condense": "rag.query.condense",
    "embed": EMBEDDINGS,
    "retrieve": RETRIEVAL,
    "prompt": "rag.prompt.render",
    "generate": CHAT,
    "cite": "rag.postprocess",
}
"""Some have the name of what they work with after it."""
STAGE_MARKS: Final[dict[StageName, int]] = {
    "condense": 0x9E3779B97F4A7C15,
    "embed": 0xBF58476D1CE4E5B9,
    "retrieve": 0x94D049BB133111EB,
    "prompt": 0xD6E8FEB86659FD93,
    "generate": 0xA0761D6478BD642F,
    "cite": 0xE7037ED1A0B428DB,
}
"""What makes a stage's span id of its answer's, by exclusive or: any numbers that differ from one another in many bits."""

# OpenTelemetry, general
ERROR_TYPE: Final = "error.type"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
URL_PATH: Final = "url.path"
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
INSTANCE: Final = "service.instance.id"
ENVIRONMENT: Final = "deployment.environment.name"
IMAGE_DIGESTS: Final = "container.image.repo_digests"
COMMIT: Final = "vcs.ref.head.revision"

# OpenTelemetry, generative AI
OPERATION: Final = "gen_ai.operation.name"
WORKFLOW: Final = "gen_ai.workflow.name"
PROVIDER: Final = "gen_ai.provider.name"
DATA_SOURCE: Final = "gen_ai.data_source.id"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_OPTIONS: Final = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "seed": "gen_ai.request.seed",
}
DIMENSION: Final = "gen_ai.embeddings.dimension.count"
TOP_K: Final = "gen_ai.retrieval.top_k"
PROMPT_NAME: Final = "gen_ai.prompt.name"
PROMPT_VERSION: Final = "gen_ai.prompt.version"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
# content, exported only where that was asked for
QUERY_TEXT: Final = "gen_ai.retrieval.query.text"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"

PROVIDERS: Final = {
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
}
"""What LangChain calls a provider → what the convention does, where they differ."""
LOCAL: Final = "local"
"""A model in this process: the convention has no name for that."""

# OpenInference
KIND: Final = "openinference.span.kind"
CHAIN, EMBEDDING, RETRIEVER, PROMPT, LLM = "CHAIN", "EMBEDDING", "RETRIEVER", "PROMPT", "LLM"
EMBEDDING_MODEL: Final = "embedding.model_name"
EMBEDDING_TEXT: Final = "embedding.embeddings.0.embedding.text"
DOCUMENT_ID: Final = "retrieval.documents.{}.document.id"
DOCUMENT_SCORE: Final = "retrieval.documents.{}.document.score"
DOCUMENT_CONTENT: Final = "retrieval.documents.{}.document.content"
LLM_MODEL: Final = "llm.model_name"
LLM_PROMPT_TOKENS: Final = "llm.token_count.prompt"
LLM_COMPLETION_TOKENS: Final = "llm.token_count.completion"
LLM_TOTAL_TOKENS: Final = "llm.token_count.total"
PROMPT_TEMPLATE_VERSION: Final = "llm.prompt_template.version"
INPUT_VALUE: Final = "input.value"
INPUT_TYPE: Final = "input.mime_type"
OUTPUT_VALUE: Final = "output.value"
OUTPUT_TYPE: Final = "output.mime_type"

# ours
SEMCONV_GENAI_KEY: Final = "rag.semconv.genai"
OPENINFERENCE_KEY: Final = "rag.semconv.openinference"
ANSWER_ID: Final = "rag.answer.id"
ANSWER_STATUS: Final = "rag.answer.status"
ABSTAIN_REASON: Final = "rag.answer.abstain_reason"
REPEATS: Final = "rag.answer.repeats"
WARNINGS: Final = "rag.answer.warnings"
CITATIONS: Final = "rag.answer.citations"
RELEASE_ID: Final = "rag.release.id"
OVERRIDES: Final = "rag.release.overrides"
INDEX_VERSION: Final = "rag.index.version"
INDEX_DIGEST: Final = "rag.index.digest"
CORPUS_DIGEST: Final = "rag.corpus.digest"
CHUNKER_DIGEST: Final = "rag.chunker.digest"
ENCODER_DIGEST: Final = "rag.embedding_model.digest"
SCOPE_CHUNKS: Final = "rag.retrieval.scope_chunks"
TOP_SCORE: Final = "rag.retrieval.top_score"
TEMPLATE_DIGEST: Final = "rag.prompt.template.digest"
PASSAGES: Final = "rag.prompt.passages"
GENERATOR_DIGEST: Final = "rag.generator.digest"
STAGE_DIGEST: Final = "rag.stage.digest"
REPLAY_OF: Final = "rag.replay.of"
REPLAY_VERDICT: Final = "rag.replay.verdict"
