"""The replies of the model endpoint, in the shapes of OpenAI's API.

They are plain dictionaries: importing ``openai.types`` would cost the child process 1.7 s of CPU
and every reply a validation. The tests validate each shape with the SDK's own models instead.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import time
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_FINDINGS = (
    "revenue has grown for three quarters in a row and the order book is full",
    "revenue is flat this year, but margins are better than they were",
    "sales fell slightly in spring and have recovered since",
    "a strong first half has paid for the new production line",
)
_OUTLOOKS = (
    "Support closes most tickets within a day, and two contracts come up for renewal this spring.",
    "The team is well staffed, and the pipeline covers the next two quarters.",
    "One large contract runs out in autumn, so the renewal needs attention early.",
    "Customers praise the service, and churn is at its lowest in two years.",
)
_ADVICE = "We recommend to keep the account and to review it again next quarter."
_NOBODY = (
    "Report: the request names none of the course's customers, so there is nobody to report on. "
    "The local model is a small program, not a language model; use your own for free questions."
)

_ERROR_TYPES = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "forbidden"),
    404: ("invalid_request_error", "not_found"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("requests", "rate_limit_exceeded"),
}
_SERVER_ERROR = ("server_error", None)


def report_on(names: Sequence[str]) -> str:
    """Write the answer to a request: two or three sentences that name every customer in it.

    Args:
        names: the customers, in order.

    Returns:
        ``Report on NAME: ...``, always the same for the same names.
    """
    if not names:
        return _NOBODY
    named = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    seed = zlib.crc32(named.encode())
    finding = _FINDINGS[seed % len(_FINDINGS)]
    outlook = _OUTLOOKS[seed // len(_FINDINGS) % len(_OUTLOOKS)]
    return f"Report on {named}: {finding}. {outlook} {_ADVICE}"


def said(text: str) -> dict[str, Any]:
    """Give the assistant's message that says a text."""
    return {"role": "assistant", "content": text, "refusal": None, "annotations": []}


def asked_for_tool(name: str, arguments: Mapping[str, Any], serial: int) -> dict[str, Any]:
    """Give the assistant's message that calls one tool.

    Args:
        name: the tool's name.
        arguments: what it is called with.
        serial: a number no other call has.
    """
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": f"call_{serial:08d}", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}


def usage_of(prompt: str, message: Mapping[str, Any]) -> dict[str, int]:
    """Count tokens roughly: four characters each, the rule of thumb of OpenAI's documentation."""
    calls = message.get("tool_calls")
    answer = message["content"] or (calls[0]["function"]["arguments"] if calls else "")
    asked, answered = len(prompt) // 4 + 1, len(answer) // 4 + 1
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
    }


def completion(
    serial: int, model: str, message: Mapping[str, Any], usage: Mapping[str, int]
) -> dict[str, Any]:
    """Give a whole chat completion.

    Args:
        serial: a number no other reply has.
        model: the name the client asked for.
        message: the assistant's message.
        usage: tokens, see `usage_of`.
    """
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish_reason(message),
    }
    head = _head(serial, model, "chat.completion")
    return {**head, "choices": [choice], "usage": usage, "service_tier": "default"}


def chunks(
    serial: int, model: str, message: Mapping[str, Any], usage: Mapping[str, int] | None
) -> Iterator[dict[str, Any]]:
    """Give a chat completion in the pieces a stream sends.

    Args:
        serial: a number no other reply has.
        model: the name the client asked for.
        message: the assistant's message.
        usage: tokens for a last chunk of its own, or None if the client did not ask for them.

    Yields:
        The chunks: who speaks, the text three words at a time or the tool call with its arguments
        in two pieces, the reason for the end, the usage.
    """
    head = _head(serial, model, "chat.completion.chunk")

    def chunk(delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**head, "choices": [choice], "usage": None}

    if message.get("tool_calls"):
        call = message["tool_calls"][0]
        arguments = call["function"]["arguments"]
        opening = {**call, "index": 0, "function": {**call["function"], "arguments": ""}}
        yield chunk({"role": "assistant", "content": None, "tool_calls": [opening]})
        half = len(arguments) // 2
        for piece in (arguments[:half], arguments[half:]):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    else:
        yield chunk({"role": "assistant", "content": "", "refusal": None})
        for piece in re.findall(r"(?:\S+\s*){1,3}", message["content"]):
            yield chunk({"content": piece})
    yield chunk({}, _finish_reason(message))
    if usage is not None:
        yield {**head, "choices": [], "usage": usage}


def embeddings(model: str, texts: Sequence[Any], dimensions: int, encoding: str) -> dict[str, Any]:
    """Give the embeddings of some texts.

    Args:
        model: the name the client asked for.
        texts: strings, or lists of token numbers.
        dimensions: the length of each vector.
        encoding: "float", or "base64" for little-endian 32-bit floats, which the SDK asks for.
    """
    data = []
    for index, text in enumerate(texts):
        vector = embed(text if isinstance(text, str) else " ".join(map(str, text)), dimensions)
        value = _base64_of(vector) if encoding == "base64" else list(vector)
        data.append({"object": "embedding", "index": index, "embedding": value})
    tokens = sum(len(text) // 4 + 1 if isinstance(text, str) else len(text) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def embed(text: str, dimensions: int) -> array[float]:
    """Turn a text into a vector of length 1; texts that share words point in similar directions.

    Args:
        text: any text.
        dimensions: how many numbers, from 1.

    Returns:
        32-bit floats, the same for the same text on every machine.
    """
    vector = array("f", bytes(4 * dimensions))
    for word in re.findall(r"\w+", text.lower()) or [""]:
        digest = hashlib.blake2b(word.encode(), digest_size=24).digest()
        for start in range(0, 24, 4):
            number = int.from_bytes(digest[start : start + 4], "little")
            vector[number // 2 % dimensions] += 1.0 if number % 2 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return array("f", (value / length for value in vector))


def error_body(status: int, message: str, *, param: str | None = None) -> dict[str, Any]:
    """Give an error in OpenAI's shape.

    Args:
        status: the HTTP status it goes with.
        message: what happened and what to do.
        param: the field of the request that is at fault.
    """
    fallback = _SERVER_ERROR if status >= 500 else _ERROR_TYPES[400]
    kind, code = _ERROR_TYPES.get(status, fallback)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _head(serial: int, model: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{serial:08d}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": "fp_crewlab",
    }


def _finish_reason(message: Mapping[str, Any]) -> str:
    return "tool_calls" if message.get("tool_calls") else "stop"


def _base64_of(vector: array[float]) -> str:
    import sys

    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
