"""From what is asked of the list of answers to SQL, for either engine."""

from dataclasses import dataclass

from rag_service.kept import RecordQuery


@dataclass(frozen=True, slots=True)
class Dialect:
    mark: str
    """Stands for a value."""
    like: str
    """Compares a text with a pattern whatever the case, a backslash before what is meant as it is."""
    rating: str
    """The last rating of an answer."""


def where(query: RecordQuery, dialect: Dialect, *, after: int | None = None) -> tuple[str, list[object]]:
    """`WHERE …`, or nothing, and its values. `after`: entries behind this one alone."""
    conditions, values = _conditions(query, dialect)
    if after is not None:
        conditions.append(f"seq > {dialect.mark}")
        values.append(after)
    return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _conditions(query: RecordQuery, dialect: Dialect) -> tuple[list[str], list[object]]:
    given: list[tuple[str, object]] = [
        ("created_at_ms >=", query.since_ms),
        ("created_at_ms <", query.until_ms),
        ("status =", query.status),
        ("release =", query.release),
        ("index_version =", query.index_version),
        ("top_score <", query.score_below),
        ("trace_id =", query.trace_id),
        ("key_id =", query.key_id),
        ("access =", query.access),
        ("seq <", query.before_seq),
    ]
    conditions = [f"{condition} {dialect.mark}" for condition, value in given if value is not None]
    values = [value for _, value in given if value is not None]
    if query.text is not None:
        pattern = "%" + query.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        columns = ("question",) if query.question_only else ("question", "answer")
        conditions.append("(" + " OR ".join(f"{column} {dialect.like}" for column in columns) + ")")
        values += [pattern] * len(columns)
    if query.rating is not None:
        conditions.append(f"{dialect.rating} IS NOT NULL" if query.rating == "any" else f"{dialect.rating} = {dialect.mark}")
        values += [] if query.rating == "any" else [query.rating]
    return conditions, values
