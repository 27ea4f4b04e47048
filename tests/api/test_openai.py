"""The door for OpenAI clients, through the clients that people use."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from langchain_openai import ChatOpenAI

from rag_service.ask import Pipeline
from rag_service.errors import GeneratorFailed
from rag_service.key_file import create_key
from tests.api.authors import Author, gauge, until, written_by

HOLIDAYS = "How many days of paid holiday does an employee have?"
FRESH = {"rag": {"cache": False}}


def door(client: Any, key: str = "none", kind: Any = openai.OpenAI) -> Any:
    return kind(base_url=f"http://127.0.0.1:{client.port}/v1", api_key=key, max_retries=0, timeout=30)


def chat(client: Any, *said: Any, **options: Any) -> Any:
    """`said` are texts of the user, or (role, content)."""
    messages = [{"role": "user", "content": one} if isinstance(one, str) else {"role": one[0], "content": one[1]} for one in said]
    with door(client) as opened:
        reply = opened.chat.completions.create(**{"model": "handbook", "messages": messages, "extra_body": FRESH, **options})
        return list(reply) if options.get("stream") else reply


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_the_index_is_the_model(client: Any) -> None:
    with door(client) as opened:
        [model] = opened.models.list().data
        assert model.id == "handbook"
        assert opened.models.retrieve("handbook").created == model.created > 1_700_000_000
        release = client.get("/info").json["release"]["id"]
        assert opened.models.retrieve(f"handbook@{release}").id == f"handbook@{release}"
        with pytest.raises(openai.NotFoundError):
            opened.models.retrieve("gpt-4o")


def check_citations(client: Any, content: str, annotations: list[Any], citations: list[Any]) -> None:
    assert len(annotations) == len(citations) > 0
    for annotation, citation in zip(annotations, citations, strict=True):
        found = annotation["url_citation"]
        assert annotation["type"] == "url_citation"
        assert content[found["start_index"] : found["end_index"]] == f"[{citation['marker']}]"
        assert found["url"] == citation["url"]
        address = urlsplit(found["url"])
        assert (address.scheme, address.port) == ("http", client.port)
        assert citation["quote"] in client.get(f"{address.path}?{address.query}").json["text"]


def test_an_answer_holds_its_citations_and_its_trace(client: Any) -> None:
    reply = chat(client, HOLIDAYS)
    [choice] = reply.choices
    assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
    assert "28 days" in choice.message.content
    more = reply.model_extra
    assert (more["status"], more["abstain_reason"]) == ("answered", None)
    assert reply.system_fingerprint == more["trace"]["release"]["id"]
    annotations = [annotation.model_dump() for annotation in choice.message.annotations]
    check_citations(client, choice.message.content, annotations, more["citations"])
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_a_stream_is_the_same_answer_in_chunks(client: Any) -> None:
    chunks = chat(client, HOLIDAYS, stream=True, stream_options={"include_usage": True})
    whole = chat(client, HOLIDAYS)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks) == whole.choices[0].message.content
    *_, last, usage = chunks
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [*[None] * (len(chunks) - 2), "stop"]
    check_citations(client, text_of(chunks), last.choices[0].delta.annotations, last.citations)
    assert last.trace["release"]["id"] == last.system_fingerprint == whole.system_fingerprint
    assert usage.choices == []
    assert usage.usage == whole.usage
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len([chunk for chunk in chat(client, HOLIDAYS, stream=True) if not chunk.choices]) == 0


@pytest.mark.parametrize("stream", [False, True])
def test_an_abstention_can_be_read(client: Any, stream: bool) -> None:
    reply = chat(client, HOLIDAYS, stream=stream, extra_body={"rag": {"filters": {"source": "nowhere.md"}}})
    content = text_of(reply) if stream else reply.choices[0].message.content
    said = reply[-1] if stream else reply
    assert content == "I found nothing about this in the documents."
    assert (said.status, said.abstain_reason, said.citations) == ("abstained", "no_hits", [])
    assert said.choices[0].finish_reason == "stop"


def test_what_openai_has_no_field_for_goes_into_rag(client: Any) -> None:
    release, index = (client.get("/info").json[name] for name in ("release", "index"))
    asked = {"filters": {"source": {"in": ["leave.md"]}}, "top_k": 2, "release": release["id"], "index_version": index["version"]}
    reply = chat(client, HOLIDAYS, extra_body={"rag": asked})
    assert {citation["source"] for citation in reply.citations} == {"leave.md"}
    assert chat(client, HOLIDAYS, model=f"handbook@{release['id']}").model == f"handbook@{release['id']}"


@pytest.mark.parametrize(
    ("options", "error", "code", "param"),
    [
        ({"model": "gpt-4o"}, openai.NotFoundError, "not_found", "model"),
        ({"model": "handbook@0123456789ab"}, openai.NotFoundError, "not_found", None),
        ({"n": 2}, openai.UnprocessableEntityError, "invalid_request", "n"),
        ({"response_format": {"type": "json_object"}}, openai.UnprocessableEntityError, "invalid_request", "response_format"),
        ({"tool_choice": "required"}, openai.UnprocessableEntityError, "invalid_request", "tool_choice"),
        ({"extra_body": {"rag": {"topk": 3}}}, openai.UnprocessableEntityError, "invalid_request", "rag.topk"),
        ({"extra_body": {"rag": {"top_k": 51}}}, openai.UnprocessableEntityError, "invalid_request", "rag.top_k"),
        ({"extra_body": {"rag": {"filters": {"a": {"near": 1}}}}}, openai.UnprocessableEntityError, "invalid_request", None),
        ({"messages": []}, openai.UnprocessableEntityError, "invalid_request", "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, openai.UnprocessableEntityError, "invalid_request", "messages"),
        ({"extra_body": {"rag": {"timeout_ms": 1, "cache": False}}}, openai.InternalServerError, "deadline_exceeded", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_those_of_the_client(
    client: Any, options: dict[str, Any], error: type[openai.APIStatusError], code: str, param: str | None, stream: bool
) -> None:
    with pytest.raises(error) as raised:
        chat(client, HOLIDAYS, stream=stream, **options)
    assert raised.value.code == code
    assert raised.value.response.headers["x-trace-id"] == raised.value.response.json()["trace_id"]
    assert raised.value.body["message"] in raised.value.response.text  # type: ignore[index]
    if param is not None:
        assert raised.value.param == param


def test_a_body_that_is_no_json_is_a_bad_request(client: Any) -> None:
    assert client.post("/v1/chat/completions", b"{").json["error"]["code"] == "invalid_json"


def test_a_failure_in_a_stream_is_an_error_of_the_client(serve: Any, pipeline: Pipeline) -> None:
    served = serve(written_by(Author("There are ", GeneratorFailed("the model is gone")), pipeline))
    with door(served) as opened:
        stream = opened.chat.completions.create(model="handbook", messages=[{"role": "user", "content": HOLIDAYS}], stream=True)
        assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "There are"]
        with pytest.raises(openai.APIError, match="the model is gone") as raised:
            next(stream)
    assert raised.value.code == "generator_error"
    with pytest.raises(openai.InternalServerError) as whole:
        chat(served, HOLIDAYS)
    assert whole.value.status_code == 502


def test_keys_are_api_keys(serve: Any, served_indexes: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    secret = create_key(keys, name="one", rate_per_minute=2)[1]
    served = serve(served_indexes, keys=keys)
    with door(served, "wrong") as opened, pytest.raises(openai.AuthenticationError):
        opened.models.list()
    with door(served, secret) as opened:
        opened.models.list()
        opened.models.list()
        with pytest.raises(openai.RateLimitError) as raised:
            opened.models.list()
    assert int(raised.value.response.headers["retry-after"]) >= 1


def test_a_follow_up_is_searched_for_with_what_was_said_before(client: Any) -> None:
    reply = chat(
        client,
        ("system", "You are a pirate."),
        ("developer", "Answer in French."),
        "How many days of paid holiday does an employee have?",
        ("assistant", None),
        ("assistant", "28 days [1]."),
        ("user", [{"type": "text", "text": "And when do they"}, {"type": "text", "text": "expire?"}]),
        user="somebody", stop=["x"], tools=[], metadata={}, top_p=0.5, presence_penalty=0, tool_choice="auto", seed=-1,
    )  # fmt: skip
    assert [stage["name"] for stage in reply.trace["stages"]][:2] == ["condense", "embed"]
    assert {citation["source"] for citation in reply.citations} == {"leave.md"}


def test_a_picture_is_refused_in_the_question_and_passed_over_before_it(client: Any) -> None:
    picture = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    with pytest.raises(openai.UnprocessableEntityError, match="image_url"):
        chat(client, ("user", picture))
    assert "28 days" in chat(client, ("user", picture), ("assistant", "I cannot see."), HOLIDAYS).choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_front_end_asks_for_itself_is_answered_without_a_search(client: Any, stream: bool) -> None:
    prompt = (
        '### Task:\nGenerate a title.\n### Output:\nJSON: { "title": "…" }\n### Chat History:\n'
        f"<chat_history>\nUSER: {HOLIDAYS}\nASSISTANT: 28 days [1].\n</chat_history>"
    )
    reply = chat(client, prompt, stream=stream, **({"stream_options": {"include_usage": True}} if stream else {}))
    content = text_of(reply) if stream else reply.choices[0].message.content
    assert set(json.loads(content)) == {"title"}
    assert (reply[-1].usage if stream else reply.usage).total_tokens == 0


def test_open_webui_gets_a_source_for_each_passage_in_the_order_of_the_markers(client: Any) -> None:
    body = {"model": "handbook", "messages": [{"role": "user", "content": HOLIDAYS}], "stream": True}
    raw = client.post("/v1/chat/completions", {**body, "rag": {"openwebui_events": True, "cache": False}}).body
    lines = [line for line in raw.split(b"\n") if line]
    assert all(line.startswith(b"data: ") for line in lines)
    assert lines[-1] == b"data: [DONE]"
    frames = [json.loads(line[6:]) for line in lines[:-1]]
    sources = [frame["event"] for frame in frames if "event" in frame]
    hits = client.search({"question": HOLIDAYS, "include": ["chunks"]}).json["hits"]
    assert [source["data"]["document"] for source in sources] == [[hit["text"]] for hit in hits]
    for source, hit in zip(sources, hits, strict=True):
        assert source["type"] == "source"
        assert source["data"]["metadata"][0]["source"] == source["data"]["source"]["url"]
        assert hit["chunk_id"] in source["data"]["source"]["url"]
        assert source["data"]["distances"] == [hit["score"]]
    assert not any("annotations" in frame["choices"][0]["delta"] for frame in frames if frame.get("choices"))


def test_langchain_gets_the_answer_whole_and_in_pieces(client: Any) -> None:
    options: dict[str, Any] = {"base_url": f"http://127.0.0.1:{client.port}/v1", "api_key": "none", "model": "handbook", "max_retries": 0}
    model = ChatOpenAI(**options, extra_body=FRESH, stream_usage=True)
    whole = model.invoke(HOLIDAYS)
    assert "28 days" in whole.content
    assert whole.response_metadata["system_fingerprint"] == client.get("/info").json["release"]["id"]
    pieces = list(model.stream(HOLIDAYS))
    total = pieces[0]
    for piece in pieces[1:]:
        total += piece
    assert total.content == whole.content
    assert total.response_metadata["finish_reason"] == "stop"
    assert total.usage_metadata is not None
    turns = [("system", "Be brief."), ("human", HOLIDAYS), ("ai", "28 days [1]."), ("human", "And when do they expire?")]
    assert "[1]" in str(model.invoke(turns).content)
    with pytest.raises(openai.NotFoundError):
        ChatOpenAI(**{**options, "model": "gpt-4o"}).invoke(HOLIDAYS)


def test_twenty_streams_of_an_asynchronous_client_do_not_mix(client: Any) -> None:
    questions = [HOLIDAYS, "How long is a password, at the least?"] * 10

    async def ask(opened: Any, question: str) -> str:
        stream = await opened.chat.completions.create(
            model="handbook", messages=[{"role": "user", "content": question}], stream=True, extra_body=FRESH
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def ask_all() -> list[str]:
        async with door(client, kind=openai.AsyncOpenAI) as opened:
            return await asyncio.gather(*(ask(opened, question) for question in questions))

    answers = asyncio.run(ask_all())
    assert all("28 days" in answer for answer in answers[::2])
    assert all("14 characters" in answer for answer in answers[1::2])


def test_closing_the_stream_of_a_client_ends_the_generation(serve: Any, pipeline: Pipeline) -> None:
    author = Author("There are ", threading.Event())
    served = serve(written_by(author, pipeline))
    with door(served) as opened:
        stream = opened.chat.completions.create(model="handbook", messages=[{"role": "user", "content": HOLIDAYS}], stream=True)
        next(stream)
        stream.close()
        until(lambda: author.ended == 1, within_s=1)
    until(lambda: gauge(served, "rag_in_flight") == gauge(served, "rag_open_streams") == 0)
