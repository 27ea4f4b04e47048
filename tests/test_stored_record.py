"""Records as bytes and back: nothing is lost on the way, and what is not to be stored is not in the bytes."""

import dataclasses
import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_service.digests import digest_text
from rag_service.errors import Damaged
from rag_service.filters import parse_filter
from rag_service.kept import AnswerEntry, Content, Kept
from rag_service.record import Attempt, Receipt, Record
from rag_service.redaction import MASK, findings
from rag_service.stored_lineage import lineage_bytes
from rag_service.stored_record import entry_of, kept_from, row_from
from rag_service.types import Hit, Notice, Prompt, SentenceSupport, Turn, Usage
from tests.recorded import LINEAGE, OTHER_LINEAGE, abstained, chunk, cited, lineage, record

HERE = Receipt(7, "sha256:" + "e" * 64)


def stored(made: Record, content: Content = "full", key_id: str | None = None) -> tuple[AnswerEntry, Kept]:
    entry = entry_of(made, content=content, key_id=key_id)
    return entry, kept_from(entry.body, entry.vector, entry.lineage, HERE)


def all_text(entry: AnswerEntry) -> str:
    """Whatever of an entry a file would hold, as text."""
    return json.dumps(orjson.loads(entry.body), ensure_ascii=False) + repr(entry.row) + repr(entry.vector)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(lambda text: not findings(text))
"""Without halves of surrogate pairs, which are no text, and without what would be masked."""
NUMBERS = st.floats(-1e6, 1e6)
VALUES = st.one_of(TEXTS, st.integers(-(2**53), 2**53), NUMBERS, st.booleans())
ABSTAIN_REASONS = ["no_hits", "low_confidence", "generator_declined", "unsupported"]
SHARES = st.floats(0, 1)
SUPPORT = st.builds(
    SentenceSupport,
    span=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    level=st.sampled_from(["supported", "partly", "unsupported"]),
    score=SHARES,
    passages=st.lists(st.integers(1, 50), max_size=3).map(tuple),
    cited=st.booleans(),
    claims=st.booleans(),
    reasons=st.lists(TEXTS.filter(bool), max_size=2).map(tuple),
)
TURNS = st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), TEXTS), max_size=3)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Anything that `ask` could make, and more."""
    made = record(draw(st.integers(0, 10**9)))
    chunks = [
        chunk(
            number, draw(TEXTS), title=draw(TEXTS), heading_path=tuple(draw(st.lists(TEXTS, max_size=2))), source=draw(TEXTS),
            page=draw(st.none() | st.integers(1, 9999)), metadata=draw(st.dictionaries(TEXTS, VALUES, max_size=3)),
        )
        for number in range(draw(st.integers(0, 4)))
    ]  # fmt: skip
    hits = tuple(Hit(one, draw(NUMBERS), cosine=draw(st.floats(-1, 1)), keywords=draw(SHARES)) for one in chunks)
    shown = draw(st.integers(0, len(hits)))
    answer = draw(st.none() | TEXTS)
    query = draw(TEXTS)
    prompt = None
    if draw(st.booleans()):
        passages = tuple(dataclasses.replace(made.prompt.passages[0], marker=n, chunk=hit.chunk) for n, hit in enumerate(hits[:shown], 1))  # type: ignore[union-attr]  # it has one
        prompt = Prompt(draw(TEXTS), draw(TEXTS), query, passages)
    citations = tuple(
        cited(hit, answer or "", quote_span=(0, draw(st.integers(0, len(hit.chunk.text)))), marker=draw(st.integers(1, 99)))
        for hit in draw(st.lists(st.sampled_from(hits), max_size=3) if hits else st.just([]))
    )
    filters = draw(st.sampled_from([None, {"tenant": "red"}, {"year": {"gte": 2020}, "lang": {"in": ["de", "en"]}}]))
    parameters = dataclasses.replace(
        made.attempt.parameters,
        generator=draw(st.dictionaries(TEXTS, st.none() | TEXTS | st.integers(-9, 9) | NUMBERS, max_size=3)),
        filters=parse_filter(filters) if filters else None,
        access=draw(st.sampled_from([None, parse_filter({"tenant": "green"})])),
        overrides=tuple(draw(st.sets(st.sampled_from(["top_k", "min_confidence"])))),
    )
    attempt: Attempt = dataclasses.replace(
        made.attempt,
        lineage=draw(st.sampled_from([LINEAGE, OTHER_LINEAGE, lineage(environment="elsewhere")])),
        parameters=parameters,
        scope=draw(st.sampled_from([None, made.attempt.scope])),
        stages=draw(st.sampled_from([(), made.attempt.stages])),
    )
    return dataclasses.replace(
        made,
        attempt=attempt, request_id=draw(st.none() | TEXTS), question=draw(TEXTS), query=query,
        history=tuple(draw(TURNS)),
        query_vector=np.array(draw(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8)), np.float32),
        hits=hits, shown=shown, prompt=prompt, raw_answer=draw(st.none() | TEXTS), answer=answer, citations=citations,
        status="answered" if answer is not None else "abstained",
        abstain_reason=None if answer is not None else draw(st.sampled_from(ABSTAIN_REASONS)),
        confidence=draw(SHARES), support=tuple(draw(st.lists(SUPPORT, max_size=3))),
        notices=tuple(Notice("citation_dropped", text) for text in draw(st.lists(TEXTS, max_size=2))),
        usage=Usage(draw(st.none() | st.integers(0, 10**6)), draw(st.none() | st.integers(0, 10**6))),
        timings_ms={"total": draw(st.floats(0, 1e6))}, repeats=draw(st.none() | st.just("ans_" + "0" * 32)),
    )  # fmt: skip


def bare(made: Record) -> dict[str, Any]:
    """Every field of it, chunks without what only a build needs."""

    def as_stored(one: Any) -> Any:
        return dataclasses.replace(one, embedded_text="", tokens=0)

    fields = {name: getattr(made, name) for name in Record.__dataclass_fields__ if name not in {"receipt", "unrecorded"}}
    return {
        **fields,
        "attempt": {name: getattr(made.attempt, name) for name in Attempt.__dataclass_fields__ if name != "lineage"},
        "lineage": lineage_bytes(made.attempt.lineage),
        "query_vector": made.query_vector.tobytes(),
        "hits": [(as_stored(hit.chunk), hit.score, hit.cosine, hit.keywords) for hit in made.hits],
        "citations": [dataclasses.replace(citation, chunk=as_stored(citation.chunk)) for citation in made.citations],
        "prompt": made.prompt and (made.prompt.system, made.prompt.user, made.prompt.question, len(made.prompt.passages)),
    }


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=records())
def test_every_record_comes_back_as_it_was(made: Record) -> None:
    entry, kept = stored(made, key_id="frontend")
    assert bare(kept.record) == bare(made)
    assert (kept.redacted, kept.content, kept.key_id, kept.receipt) == (frozenset(), "full", "frontend", HERE)
    assert row_from(entry.body, entry.lineage) == entry.row
    assert (kept.record.receipt, kept.question_digest) == (HERE, digest_text(made.question))


CANARY = "Zebedee"


def told(made: Record) -> Record:
    """The record with the canary in every text that somebody could have written."""
    one = chunk(1, f"{CANARY} has 28 days.", title=CANARY, heading_path=(CANARY,), source=f"{CANARY}.md", metadata={"who": CANARY})
    hits = (dataclasses.replace(made.hits[0], chunk=one),)
    assert made.prompt is not None
    filters = parse_filter({"who": CANARY})
    return dataclasses.replace(
        made,
        attempt=dataclasses.replace(made.attempt, parameters=dataclasses.replace(made.attempt.parameters, filters=filters)),
        request_id=CANARY, question=f"How many days has {CANARY}?", query=f"days of {CANARY}", hits=hits, shown=1,
        history=(Turn("user", CANARY), Turn("assistant", CANARY)),
        prompt=dataclasses.replace(made.prompt, system=CANARY, user=f"{one.text} {CANARY}?"),
        raw_answer=f"{CANARY} has 28. [1]", answer=f"{CANARY} has 28. [1]",
        citations=(cited(hits[0], f"{CANARY} has 28. [1]", quote_span=(0, 7)),), notices=(Notice("citation_dropped", CANARY),),
        support=(SentenceSupport((0, 18), "partly", 0.4, (1,), True, True, (f"'{CANARY}' is not named",)),),
    )  # fmt: skip


def test_with_digests_alone_no_text_and_no_vector_is_stored() -> None:
    full, _ = stored(told(record(1)))
    assert all_text(full).count(CANARY) > 15
    entry, kept = stored(told(record(1)), "digest", key_id="frontend")
    assert CANARY not in all_text(entry)
    assert "28" not in json.dumps(orjson.loads(entry.body)["citations"][0]["quote"])
    assert entry.vector is None
    assert not kept.has_vector
    assert (kept.record.question, kept.record.answer, kept.record.hits[0].chunk.text) == ("", None, "")
    assert kept.record.prompt is None
    assert kept.record.attempt.stages == record(1).attempt.stages
    assert kept.question_digest == digest_text(f"How many days has {CANARY}?")
    assert row_from(entry.body, entry.lineage) == entry.row


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=records())
def test_with_digests_alone_every_record_still_says_what_made_it(made: Record) -> None:
    entry, kept = stored(made, "digest")
    assert row_from(entry.body, entry.lineage) == entry.row
    assert (lineage_bytes(kept.record.attempt.lineage), kept.record.status, kept.record.timings_ms) == (
        lineage_bytes(made.attempt.lineage), made.status, made.timings_ms,
    )  # fmt: skip
    assert [hit.score for hit in kept.record.hits] == [hit.score for hit in made.hits]
    assert [citation.quote_span for citation in kept.record.citations] == [citation.quote_span for citation in made.citations]


SECRETS = {
    "an e-mail address": "joe.doe@example.com",
    "a key": "sk-proj-4f9aB2kLm7QwErTy0123",
    "an IBAN": "DE89 3704 0044 0532 0130 00",
    "a phone number": "+49 170 1234567",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_in_the_question_is_masked_wherever_it_stands_and_the_vector_goes(secret: str) -> None:
    made = record(1, question=f"Who is {secret}?", query=f"who is {secret}")
    assert made.prompt is not None
    made = dataclasses.replace(made, prompt=dataclasses.replace(made.prompt, user=f"[1] text\nWho is {secret}?"))
    entry, kept = stored(made)
    assert secret not in all_text(entry)
    assert kept.record.question == f"Who is {MASK * len(secret)}?"
    assert kept.redacted >= {"question", "query", "prompt"}
    assert entry.vector is None


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_in_a_passage_is_masked_and_the_vector_stays(secret: str) -> None:
    made = record(1)
    hit = dataclasses.replace(made.hits[0], chunk=chunk(9, f"Ask {secret} now.", metadata={"contact": secret}))
    assert made.prompt is not None
    prompt = dataclasses.replace(made.prompt, user=f"[1] Ask {secret} now.")
    entry, kept = stored(dataclasses.replace(made, hits=(hit,), shown=1, prompt=prompt, citations=(), answer=f"Ask {secret}."))
    assert secret not in all_text(entry)
    assert kept.redacted == {"passages", "prompt", "answer"}
    assert len(kept.record.hits[0].chunk.text) == len(hit.chunk.text)
    assert kept.has_vector


def test_what_its_words_give_away_in_one_place_is_masked_in_every_other() -> None:
    """A value that only the name before it makes a password."""
    made = record(1, question="password: hunter2hunter2", answer="Say hunter2hunter2 at the door. [1]", citations=())
    entry, _ = stored(made)
    assert "hunter2hunter2" not in all_text(entry)


@pytest.mark.parametrize("text", ["half \ud83d of a pair", "\x00", "\u202eevil", "e\u0301", "𝕏" * 50, "\ufeff", "</script>", "{{x}}"])
def test_odd_text_comes_back_or_is_replaced_and_costs_no_answer(text: str) -> None:
    _, kept = stored(record(1, question=text, answer=text, citations=()))
    assert kept.record.question == text.encode("utf-8", "replace").decode()


def test_an_abstention_comes_back_without_passages() -> None:
    _, kept = stored(abstained(3))
    assert (kept.record.status, kept.record.abstain_reason, kept.record.hits, kept.record.answer) == ("abstained", "no_hits", (), None)


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[:-1],
        lambda _: b"",
        lambda _: b"null",
        lambda body: body.replace(b"rag.record/v2", b"rag.record/v9"),
        lambda body: body.replace(b'"status":"answered"', b'"status":"perhaps"'),
        lambda body: body.replace(b'"hit":0', b'"hit":9'),
        lambda body: body.replace(b'"answer_id"', b'"answer_ib"'),
    ],
)
def test_bytes_that_are_no_record_are_damage(damage: Any) -> None:
    entry = entry_of(record(1), content="full", key_id=None)
    with pytest.raises(Damaged, match="entry 7 "):
        kept_from(damage(entry.body), entry.vector, entry.lineage, HERE)


@pytest.mark.parametrize("document", [b"", b"{}", entry_of(record(1, of=OTHER_LINEAGE), content="full", key_id=None).lineage])
def test_a_release_that_is_not_the_one_named_is_damage(document: bytes) -> None:
    entry = entry_of(record(1), content="full", key_id=None)
    with pytest.raises(Damaged, match="names a release that is damaged"):
        kept_from(entry.body, entry.vector, document, HERE)
