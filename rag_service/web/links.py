"""Where things are shown: every id on a page leads to what it names. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from rag_service.kept import RecordQuery
from rag_service.types import Citation


def query_string(values: Mapping[str, object]) -> str:
    """`?a=1&b=2` of what is not None; empty where nothing is left."""
    given = {name: value for name, value in values.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def trace(answer_or_trace_id: str) -> str:
    return f"/traces/{answer_or_trace_id}"


def comparison(a: str, b: str) -> str:
    return "/traces/compare" + query_string({"a": a, "b": b})


def release(identifier: str, part: str = "") -> str:
    """`part` is the section of its page: index, chunker, encoder, retrieval, prompt, generator, code."""
    return f"/releases/{identifier}" + (f"#{part}" if part else "")


def index_version(identifier: str) -> str:
    return f"/indexes/versions/{identifier}"


def chunk(identifier: str, version: str, quote: tuple[int, int] | None = None) -> str:
    """`quote` is what shall be marked and scrolled to, in characters of the chunk's text."""
    marked = f"{quote[0]}-{quote[1]}" if quote else None
    return f"/chunks/{identifier}" + query_string({"index_version": version, "quote": marked}) + ("#quote" if quote else "")


def cited(citation: Citation, version: str) -> str:
    return chunk(citation.chunk.id, version, citation.quote_span)


def traces(query: RecordQuery) -> str:
    """The list with the filters of `query`, as its form sends them."""
    return "/traces" + query_string(
        {
            "since": minute(query.since_ms),
            "until": minute(query.until_ms),
            "status": query.status,
            "release": query.release,
            "index_version": query.index_version,
            "score_below": query.score_below,
            "rating": query.rating,
            "text": query.text or None,
            "trace_id": query.trace_id,
            "key_id": query.key_id,
            "before": query.before_seq,
            "limit": query.limit if query.limit != RecordQuery().limit else None,
        }
    )


def minute(milliseconds_since_1970: int | None) -> str | None:
    """As a field for date and time takes it, in UTC. Seconds only where there are any."""
    if milliseconds_since_1970 is None:
        return None
    moment = datetime.fromtimestamp(milliseconds_since_1970 / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S" if moment.second else "%Y-%m-%dT%H:%M")


def traces_of(release_id: str) -> str:
    return traces(RecordQuery(release=release_id))
