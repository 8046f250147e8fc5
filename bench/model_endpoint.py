"""How many chat completions a second the local model endpoint answers.

The server runs on one core (where the system lets a process be pinned), the client on another: a
bare asyncio protocol that counts responses, so that the client is not what is measured.

    python bench/model_endpoint.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time

import crewlab.services

WARM_UP = 0.5  # s
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def measure(seconds: float = 3.0, connections: int = 20) -> float:
    """Measure the endpoint's throughput with latency 0.

    Args:
        seconds: how long to count, after half a second of warming up.
        connections: how many keep-alive connections send one request after the other.

    Returns:
        Answers with status 200 a second. The services are started if they do not run yet, and
        stopped again if they were; settings they had are put back.
    """
    ours = crewlab.services.current() is None
    services = crewlab.services.start()
    before = services.model.settings
    services.model.configure(latency=0.0)
    services.model.reset()
    mine = os.sched_getaffinity(0) if CORES else None
    if len(CORES) > 1:
        os.sched_setaffinity(services.pid, {CORES[0]})
        os.sched_setaffinity(0, {CORES[-1]})
    try:
        rate = asyncio.run(_count(services.ports["model"], seconds, connections))
        stats = services.model.stats()
        if set(stats.by_status) != {200} or stats.peak_in_flight > connections:
            raise RuntimeError(f"not every request was answered: {stats}")
        return rate
    finally:
        if mine is not None:
            os.sched_setaffinity(0, mine)
            os.sched_setaffinity(services.pid, mine)
        if ours:
            services.stop()
        else:
            services.model.configure(**vars(before))


def a_request(port: int) -> bytes:
    """Give the bytes of a request like the first one of an agent with a tool (1.6 kB)."""
    function = {
        "name": "search_the_internet_with_serper",
        "description": "A tool that can be used to search the internet with a search_query.",
        "parameters": {
            "properties": {"search_query": {"description": "What to look for", "type": "string"}},
            "required": ["search_query"],
            "type": "object",
        },
    }
    system = "You are Researcher of Aldermoor. You have looked into companies for twenty years. "
    task = "Current Task: Research Aldermoor. This is the expected criteria for your final answer. "
    body = json.dumps(
        {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "system", "content": system * 3},
                {"role": "user", "content": task * 8},
            ],
            "tools": [{"type": "function", "function": function}],
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Content-Type: application/json\r\nAuthorization: Bearer local-bench\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client(asyncio.Protocol):
    """One connection: sends the next request when the answer to the last one is whole."""

    answered = 0

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = head[head.index(b"Content-Length: ") + 16 :].partition(b"\r\n")[0]
        if len(body) >= int(length):
            self._buffer = b""
            Client.answered += head.startswith(b"HTTP/1.1 200")
            self._transport.write(self._request)


async def _count(port: int, seconds: float, connections: int) -> float:
    loop = asyncio.get_running_loop()
    request = a_request(port)
    opened = [
        await loop.create_connection(lambda: Client(request), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.sleep(WARM_UP)
    first, started = Client.answered, time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (Client.answered - first) / (time.perf_counter() - started)
    for transport, _ in opened:
        transport.close()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    rates = [measure(given.seconds, given.connections) for _ in range(given.runs)]
    pinned = "one core" if len(CORES) > 1 else "cores the system chose"
    print(
        f"model endpoint on {pinned}, {given.connections} connections: "
        f"{statistics.median(rates):,.0f} requests/s "
        f"(median of {given.runs}; {min(rates):,.0f} to {max(rates):,.0f})"
    )


if __name__ == "__main__":
    sys.exit(main())
