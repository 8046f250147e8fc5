"""The model endpoint: a small program that speaks OpenAI's chat completions and embeddings.

It is deterministic. Offered a tool it has no result of yet, it calls the tool; otherwise it
reports on every customer the messages name, so that an answer about somebody else shows.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from crewlab.services import asking, react, replies
from crewlab.services.endpoint import Endpoint, Refusal, as_json
from crewlab.services.traffic import Traffic, Visit

MODELS = {"gpt-4o-mini": 0, "gpt-4o": 0, "text-embedding-3-small": 1536}
DIMENSIONS = {"text-embedding-3-large": 3072}
_USUAL_DIMENSIONS = 1536
_MOST_DIMENSIONS = 8192


class ModelEndpoint(Endpoint):
    """Chat completions and embeddings."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__(traffic)
        self._serial = itertools.count(1)

    def body_of_error(self, refusal: Refusal) -> Mapping[str, Any]:
        """Put a refusal into OpenAI's shape."""
        return replies.error_body(refusal.status, refusal.message, param=refusal.param)

    async def answer(
        self, request: web.BaseRequest, body: dict[str, Any], visit: Visit
    ) -> web.StreamResponse:
        """Answer a chat completion or an embeddings request."""
        if request.path == "/v1/embeddings":
            return as_json(embeddings(body))
        messages = _checked_messages(body)
        prompt = "\n".join(asking.texts_of(messages))
        visit.names = asking.names_in(prompt)
        serial = next(self._serial)
        message = self._say(body, messages, visit, serial)
        usage = replies.usage_of(prompt, message)
        visit.prompt_tokens = usage["prompt_tokens"]
        visit.completion_tokens = usage["completion_tokens"]
        if not body.get("stream"):
            return as_json(replies.completion(serial, body["model"], message, usage))
        wanted = (body.get("stream_options") or {}).get("include_usage")
        pieces = replies.chunks(serial, body["model"], message, usage if wanted else None)
        return await _streamed(request, pieces)

    def _say(
        self, body: dict[str, Any], messages: list[dict[str, Any]], visit: Visit, serial: int
    ) -> dict[str, Any]:
        """Call a tool, or report on whom the messages name, in the form that was asked for."""
        subject = asking.subject_of(messages, visit.names)
        tool = tool_to_call(body, messages)
        if tool is not None:
            visit.tool = tool["name"]
            arguments = _filled(tool.get("parameters") or {}, subject, tool["name"])
            return replies.asked_for_tool(tool["name"], arguments, serial)
        schema = _answer_schema(body)
        if schema is not None:
            return replies.said(json.dumps(_filled(schema, subject, "response_format")))
        if not react.is_asked_in_words(messages):
            return replies.said(replies.report_on(visit.names))
        called = react.tool_in_words(messages)
        if called is None:
            return replies.said(react.final_answer(replies.report_on(visit.names)))
        visit.tool, arguments_schema = called
        arguments = _filled(arguments_schema, subject, visit.tool)
        return replies.said(react.action(visit.tool, arguments))

    def models(self) -> web.Response:
        """List the models; any other name is accepted as well."""
        listed = [
            {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "crewlab"}
            for name in MODELS
        ]
        return as_json({"object": "list", "data": listed})


def tool_to_call(body: Mapping[str, Any], messages: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Decide whether to call a tool.

    Args:
        body: the request.
        messages: its messages.

    Returns:
        The function to call: the one ``tool_choice`` names, else the first one as long as no
        tool has answered in this conversation. None: answer instead.
    """
    functions: list[dict[str, Any]] = [
        tool["function"]
        for tool in body.get("tools") or ()
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    functions = [function for function in functions if function.get("name")]
    choice = body.get("tool_choice")
    if not functions or choice == "none":
        return None
    if isinstance(choice, dict):
        wanted = (choice.get("function") or {}).get("name")
        return next((f for f in functions if f["name"] == wanted), functions[0])
    used = any(message.get("role") == "tool" for message in messages)
    return None if used and choice != "required" else functions[0]


def embeddings(body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer an embeddings request.

    Raises:
        Refusal: no input, or dimensions out of range.
    """
    model, given = body.get("model"), body.get("input")
    if not isinstance(model, str):
        raise Refusal(400, "The request has no 'model': name one, any will do.", param="model")
    if not given or not isinstance(given, str | list):
        raise Refusal(400, "The request has no 'input': send a text or a list.", param="input")
    texts = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    if not all(isinstance(text, str | list) for text in texts):
        raise Refusal(400, "'input' takes texts or lists of token numbers.", param="input")
    size = body.get("dimensions") or DIMENSIONS.get(model, _USUAL_DIMENSIONS)
    if not isinstance(size, int) or not 1 <= size <= _MOST_DIMENSIONS:
        raise Refusal(400, f"'dimensions' is a number from 1 to {_MOST_DIMENSIONS}.")
    return replies.embeddings(model, texts, size, body.get("encoding_format") or "float")


def _checked_messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the request's messages, or say what is wrong with the request."""
    if not isinstance(body.get("model"), str):
        raise Refusal(400, "The request has no 'model': name one, any will do.", param="model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(
            400,
            "The request has no 'messages': send a list with at least one message.",
            param="messages",
        )
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            where = f"messages[{number}]"
            raise Refusal(400, f"{where} is no message: it has no 'role'.", param=where)
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            where = f"messages[{number}]"
            raise Refusal(400, f"'tool_calls' of {where} is no list of calls.", param=where)
    if not isinstance(body.get("tools") or [], list):
        raise Refusal(400, "'tools' is no list: send a list of tools or none.", param="tools")
    if body.get("n") not in (None, 1):
        raise Refusal(400, "The local model gives one answer a request: leave 'n' at 1.", param="n")
    return messages


def _filled(schema: Mapping[str, Any], subject: str, owner: str) -> Any:
    """Make up a value for a schema; owner is whose it is, for the message if it is none."""
    try:
        return asking.fill(schema, subject)
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise Refusal(400, f"The schema of {owner!r} cannot be read: {error}.") from None


def _answer_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Give the schema of a structured answer, or None if text will do."""
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") not in ("json_schema", "json_object"):
        return None
    if wanted["type"] == "json_object":
        return {"type": "object", "properties": {"report": {"type": "string"}}}
    schema = (wanted.get("json_schema") or {}).get("schema")
    return schema if isinstance(schema, dict) else None


async def _streamed(request: web.BaseRequest, pieces: Any) -> web.StreamResponse:
    """Send chunks as server-sent events."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    )
    await response.prepare(request)
    for piece in pieces:
        await response.write(b"data: " + json.dumps(piece).encode() + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response
