"""The local model endpoint, as the openai SDK and langchain-openai see it."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from crewlab.services import Services
from tests.services_tools import become_true

MODEL = "gpt-4o-mini"
ASK = [{"role": "user", "content": "Research Aldermoor and Customer-12."}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Searches.",
            "parameters": {
                "type": "object",
                "properties": {
                    "search_query": {"type": "string"},
                    "count": {"type": "integer", "minimum": 3},
                    "kinds": {"type": "array", "items": {"$ref": "#/$defs/Kind"}},
                    "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
                "required": ["search_query", "count", "kinds"],
                "$defs": {"Kind": {"enum": ["news", "web"]}},
            },
        },
    }
]


@pytest.fixture
def services(services: Services) -> Services:
    services.model.configure(latency=0)
    services.model.reset()
    return services


@pytest.fixture
def client(services: Services) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(max_retries=0) as client:
        yield client


def raw(
    services: Services,
    path: str,
    body: str | bytes = b"",
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any], http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", services.ports["model"], timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers
    finally:
        connection.close()


def statuses(services: Services) -> list[int]:
    return [call.status for call in services.model.journal()]


def test_a_reply_names_every_customer_of_the_messages_in_order(client: openai.OpenAI) -> None:
    messages = [
        {"role": "system", "content": "You research Brightwater.\nNever Aldermoors."},
        {"role": "user", "content": [{"type": "text", "text": "Compare U7, (Aldermoor) and U7."}]},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=messages).choices[0]
    assert answer.finish_reason == "stop"
    assert answer.message.content.startswith("Report on Brightwater, U7 and Aldermoor: ")
    again = client.chat.completions.create(model=MODEL, messages=messages).choices[0]
    assert again.message.content == answer.message.content


def test_a_prompt_about_nobody_is_told_so(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "What is a replica?"}]
    content = client.chat.completions.create(model=MODEL, messages=messages).choices[0].message
    assert "names none of the course's customers" in content.content


def test_a_tool_is_called_once_with_what_the_prompt_asks_about(
    client: openai.OpenAI, services: Services
) -> None:
    first = client.chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS).choices[0]
    assert first.finish_reason == "tool_calls"
    call = first.message.tool_calls[0]
    assert json.loads(call.function.arguments) == {
        "search_query": "Aldermoor and Customer-12",
        "count": 3,
        "kinds": ["news"],
    }
    found = {"role": "tool", "tool_call_id": call.id, "content": "found"}
    messages = [*ASK, first.message.model_dump(exclude_none=True), found]
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    assert second.choices[0].message.content.startswith("Report on Aldermoor and Customer-12: ")
    assert [call.tool for call in services.model.journal()] == ["search", None]
    assert services.model.journal()[0].names == ("Aldermoor", "Customer-12")


def test_a_tool_choice_is_obeyed(client: openai.OpenAI) -> None:
    other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object"}}}
    chosen = {"type": "function", "function": {"name": "other"}}

    def ask(choice: Any) -> Any:
        return client.chat.completions.create(
            model=MODEL, messages=ASK, tools=[*TOOLS, other], tool_choice=choice
        ).choices[0]

    assert ask("none").message.tool_calls is None
    assert ask("required").message.tool_calls[0].function.name == "search"
    assert ask(chosen).message.tool_calls[0].function.name == "other"


def test_replies_fit_the_models_of_the_sdk(services: Services) -> None:
    for extra in ({}, {"tools": TOOLS}):
        body = json.dumps({"model": MODEL, "messages": ASK, **extra})
        status, reply, headers = raw(services, "/v1/chat/completions", body)
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert ChatCompletion.model_validate(reply, strict=True).usage.total_tokens > 0
        for chunk in stream_of(services, {"model": MODEL, "messages": ASK, **extra}):
            assert ChatCompletionChunk.model_validate(chunk, strict=True).model == MODEL
    body = json.dumps({"model": "text-embedding-3-small", "input": "a"})
    _, reply, _ = raw(services, "/v1/embeddings", body)
    assert CreateEmbeddingResponse.model_validate(reply).data[0].index == 0


def stream_of(services: Services, body: dict[str, Any]) -> list[dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", services.ports["model"], timeout=10)
    connection.request("POST", "/v1/chat/completions", json.dumps({**body, "stream": True}))
    events = connection.getresponse().read().decode().strip().split("\n\n")
    connection.close()
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_a_stream_brings_the_same_text_in_pieces(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=ASK).choices[0].message.content
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len([piece for piece in pieces if piece]) > 5
    assert "".join(pieces) == whole
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens > 0
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_a_tool_call_is_streamed_with_its_arguments_in_pieces(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=ASK, tools=TOOLS) as stream:
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    arguments = json.loads(choice.message.tool_calls[0].function.arguments)
    assert arguments["search_query"] == "Aldermoor and Customer-12"


def test_a_structured_answer_fits_its_schema(client: openai.OpenAI) -> None:
    class Finding(BaseModel):
        company: str
        score: float

    class Report(BaseModel):
        findings: list[Finding]
        final: bool

    parsed = client.chat.completions.parse(model=MODEL, messages=ASK, response_format=Report)
    report = parsed.choices[0].message.parsed
    assert report.findings[0].company == "Aldermoor and Customer-12"


def test_embeddings_are_unit_vectors_of_the_wanted_length(client: openai.OpenAI) -> None:
    def embed(text: str, **how: Any) -> Any:
        made = client.embeddings.create(model="text-embedding-3-small", input=[text], **how)
        return made.data[0].embedding

    usual = embed("Aldermoor sells boats")  # the SDK asks for base64 unless told otherwise
    assert len(usual) == 1536
    assert usual == pytest.approx(embed("Aldermoor sells boats", encoding_format="float"))
    encoded = embed("Aldermoor sells boats", encoding_format="base64", dimensions=64)
    short = array("f", base64.b64decode(encoded))
    assert len(short) == 64
    assert sum(value * value for value in short) == pytest.approx(1.0, abs=1e-5)

    def likeness(one: str, other: str) -> float:
        return sum(a * b for a, b in zip(embed(one), embed(other), strict=True))

    assert likeness("boats of Aldermoor", "Aldermoor sells boats") > 0.5
    assert likeness("weather report", "Aldermoor sells boats") < 0.2


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert MODEL in [model.id for model in client.models.list()]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "The body is not valid JSON"),
        (b"\xff\xfe", "The body is not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "has no 'model'"),
        (b'{"model": "m"}', "has no 'messages'"),
        (b'{"model": "m", "messages": []}', "has no 'messages'"),
        (b'{"model": "m", "messages": [1]}', "messages[0] is no message"),
        (b'{"model": "m", "messages": [{"role": "user"}], "n": 2}', "leave 'n' at 1"),
        (b'{"model": "m", "messages": [{"role": "user"}], "tools": 3}', "'tools'"),
        (
            b'{"model": "m", "messages": [{"role": "assistant", "tool_calls": [1]}]}',
            "'tool_calls'",
        ),
        (
            b'{"model": "m", "messages": [{"role": "user"}], "tools": '
            b'[{"function": {"name": "f", "parameters": {"properties": 1}}}]}',
            "The schema of 'f' cannot be read",
        ),
    ],
)
def test_a_bad_request_gets_a_clear_error_in_openais_shape(
    services: Services, body: bytes, message: str
) -> None:
    status, reply, _ = raw(services, "/v1/chat/completions", body)
    assert status == 400
    assert reply["error"]["type"] == "invalid_request_error"
    assert message in reply["error"]["message"]
    assert "Traceback" not in json.dumps(reply)
    assert statuses(services) == [400]


def test_an_unknown_path_gets_an_error_that_says_what_there_is(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="/v1/chat/completions"):
        client.responses.create(model=MODEL, input="Aldermoor")


def test_above_the_cap_a_request_is_told_when_to_come_back(services: Services) -> None:
    services.model.configure(latency=0.5, max_in_flight=2, retry_after=1.5)

    def ask(_: int) -> openai.APIStatusError | None:
        try:
            with openai.OpenAI(max_retries=0) as client:
                client.chat.completions.create(model=MODEL, messages=ASK)
        except openai.RateLimitError as error:
            return error
        return None

    with ThreadPoolExecutor(6) as pool:
        refused = [error for error in pool.map(ask, range(6)) if error is not None]
    stats = services.model.stats()
    assert stats.by_status == {200: 6 - len(refused), 429: len(refused)}
    assert (stats.peak_in_flight, stats.in_flight, stats.total) == (2, 0, 6)
    assert refused[0].response.headers["Retry-After"] == "2"  # whole seconds, rounded up
    assert refused[0].response.headers["retry-after-ms"] == "1500"
    assert refused[0].code == "rate_limit_exceeded"
    assert "2 requests are in flight" in refused[0].message


def test_an_error_by_ordinal_is_retried_by_the_sdk(services: Services) -> None:
    services.model.configure(latency=0, errors={1: 500, 2: 429}, retry_after=0.05)
    with openai.OpenAI(max_retries=2) as client:
        answer = client.chat.completions.create(model=MODEL, messages=ASK)
    assert answer.choices[0].message.content.startswith("Report on")
    assert statuses(services) == [500, 429, 200]
    services.model.reset()  # the ordinals start again, the settings stay
    with openai.OpenAI(max_retries=0) as client, pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=MODEL, messages=ASK)


def test_a_dropped_connection_is_one_for_the_client(
    services: Services, client: openai.OpenAI
) -> None:
    services.model.configure(latency=0, drop={1})
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model=MODEL, messages=ASK)
    assert services.model.stats().by_status == {0: 1}
    assert client.chat.completions.create(model=MODEL, messages=ASK).choices


def test_a_hang_is_cut_by_the_clients_timeout(services: Services, client: openai.OpenAI) -> None:
    services.model.configure(latency=0, hang={1})
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(model=MODEL, messages=ASK)
    assert become_true(lambda: services.model.stats().by_status == {499: 1})
    assert services.model.stats().in_flight == 0


def test_a_hang_ends_with_a_reset(services: Services, client: openai.OpenAI) -> None:
    services.model.configure(latency=0, hang={1})
    outcome: list[BaseException] = []

    def ask() -> None:
        try:
            client.chat.completions.create(model=MODEL, messages=ASK)
        except openai.APIConnectionError as error:
            outcome.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert become_true(lambda: services.model.stats().in_flight == 1)
    services.model.reset()
    asking.join(10)
    assert len(outcome) == 1
    assert become_true(lambda: services.model.stats().in_flight == 0)
    assert services.model.stats().total == 0  # it belonged to the count that the reset wiped


def test_a_journal_row_says_when_and_what(services: Services, client: openai.OpenAI) -> None:
    services.model.configure(latency=0.05)
    before = time.time()
    client.chat.completions.create(model=MODEL, messages=ASK)
    (call,) = services.model.journal()
    assert before <= call.started <= call.finished <= time.time()
    assert call.finished - call.started >= 0.05
    assert (call.ordinal, call.path, call.status) == (1, "/v1/chat/completions", 200)


def test_a_journal_row_counts_the_tokens_that_the_answer_counts(
    services: Services, client: openai.OpenAI
) -> None:
    usage = client.chat.completions.create(model=MODEL, messages=ASK).usage
    (call,) = services.model.journal()
    assert usage is not None
    assert usage.prompt_tokens > 0
    assert call.prompt_tokens == usage.prompt_tokens
    assert call.completion_tokens == usage.completion_tokens


def test_a_quota_lets_so_many_in_and_the_next_one_after_its_time(
    services: Services, client: openai.OpenAI
) -> None:
    services.model.configure(latency=0, quota=2, quota_seconds=600, retry_after=0)
    patient = client.with_options(max_retries=0)
    for _ in range(2):
        patient.chat.completions.create(model=MODEL, messages=ASK)
    with pytest.raises(openai.RateLimitError, match="2 requests in 600 s"):
        patient.chat.completions.create(model=MODEL, messages=ASK)
    # With a window that has passed already, the same two count no more.
    services.model.configure(latency=0, quota=2, quota_seconds=0)
    patient.chat.completions.create(model=MODEL, messages=ASK)
    assert services.model.stats().by_status == {200: 3, 429: 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency": -1},
        {"latency": float("nan")},
        {"retry_after": "1"},
        {"max_in_flight": 0},
        {"quota": 0},
        {"quota_seconds": -1},
        {"errors": {0: 500}},
        {"errors": {1: 200}},
        {"drop": {"1"}},
        {"hang": {True}},
    ],
)
def test_settings_out_of_range_are_refused_and_change_nothing(
    services: Services, wrong: dict[str, Any]
) -> None:
    before = services.model.settings
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}"):
        services.model.configure(**wrong)
    assert services.model.settings == before


def test_what_is_not_named_goes_back_to_its_default(services: Services) -> None:
    services.model.configure(latency=0, max_in_flight=1, errors={1: 500})
    services.model.configure()
    assert vars(services.model.settings) == {
        "latency": 0.1,
        "max_in_flight": None,
        "quota": None,
        "quota_seconds": 60.0,
        "retry_after": 1.0,
        "errors": {},
        "drop": frozenset(),
        "hang": frozenset(),
    }


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}],
)
def test_a_web_page_of_somebody_else_is_refused(
    services: Services, headers: dict[str, str]
) -> None:
    body = json.dumps({"model": MODEL, "messages": ASK})
    status, reply, _ = raw(services, "/v1/chat/completions", body, headers=headers)
    assert (status, reply["error"]["type"]) == (403, "forbidden")
    assert services.model.stats().total == 0


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer local-crewlab"}])
def test_the_control_channel_wants_its_token(services: Services, headers: dict[str, str]) -> None:
    for command in ("settings", "reset", "stats", "journal"):
        status, _, _ = raw(services, f"/_control/model/{command}", b"{}", headers=headers)
        assert status == 403


def test_langchain_gets_answers_streams_and_tool_calls(services: Services) -> None:
    chat = ChatOpenAI(model=MODEL)
    answer = chat.invoke("Research Aldermoor")
    assert answer.content.startswith("Report on Aldermoor: ")
    streamed = "".join(chunk.content for chunk in chat.stream("Research Aldermoor"))
    assert streamed == answer.content
    called = chat.bind_tools(TOOLS).invoke("Research Aldermoor").tool_calls
    assert [call["name"] for call in called] == ["search"]
    assert called[0]["args"]["search_query"] == "Aldermoor"


def test_settings_for_a_while_give_way_to_those_of_before(services: Services) -> None:
    services.model.configure(latency=0.02, quota=7)
    with pytest.raises(KeyError), services.model.temporarily(latency=0.03):
        assert (services.model.settings.latency, services.model.settings.quota) == (0.03, None)
        raise KeyError
    assert (services.model.settings.latency, services.model.settings.quota) == (0.02, 7)
    services.model.configure()
