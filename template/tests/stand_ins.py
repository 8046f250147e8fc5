"""A model and a storage on this machine, so that the tests need neither key nor network."""

from __future__ import annotations

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moto.server import ThreadedMotoServer

BUCKET = "reports-of-tests"
KEY = "test-key-that-no-log-may-show"
SECRET = "test-secret-that-no-log-may-show"  # noqa: S105


class Model(ThreadingHTTPServer):
    """Answers chat completions about the company that the prompt names, after a while.

    Attributes:
        latency: seconds before an answer.
        stuck: companies about whom it does not answer as long as they are in here.
        status: what to answer with; anything but 200 is an error.
        asked: how many calls there were.
        peak: the most calls at the same time.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self._now = 0
        self.reset()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def reset(self) -> None:
        self.latency, self.status, self.asked, self.peak = 0.05, 200, 0, 0
        self.stuck: set[str] = set()

    def enter(self) -> None:
        with self._lock:
            self.asked += 1
            self._now += 1
            self.peak = max(self.peak, self._now)

    def leave(self) -> None:
        with self._lock:
            self._now -= 1


class _Answer(BaseHTTPRequestHandler):
    server: Model
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.enter()
        try:
            time.sleep(self.server.latency)
            request = json.loads(body)
            company = _company(request)
            while company in self.server.stuck:
                time.sleep(0.01)
            self._send(self.server.status, _completion(request, company))
        except OSError:
            self.close_connection = True  # the client's patience was at an end
        finally:
            self.server.leave()

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        text = json.dumps(answer if status == 200 else {"error": {"message": "no"}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _company(request: dict[str, Any]) -> str:
    prompt = " ".join(str(message["content"]) for message in request["messages"])
    found = re.search(r"report on ([A-Z]\w*)\.", prompt)
    return found[1] if found else "nobody"


def _completion(request: dict[str, Any], company: str) -> dict[str, Any]:
    text = f"Report on {company}."
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


class Storage(ThreadedMotoServer):
    """S3 on this machine."""

    def __init__(self) -> None:
        super().__init__(ip_address="127.0.0.1", port=0, verbose=False)
        self.start()

    @property
    def url(self) -> str:
        host, port = self.get_host_and_port()
        return f"http://{host}:{port}"


def environment(model: Model, storage: Storage, folder: str) -> dict[str, str]:
    """Give what the service needs in its environment."""
    return {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": model.url,
        "CREWAI_STORAGE_DIR": folder,
        "SERVICE_BUCKET": BUCKET,
        "AWS_ENDPOINT_URL_S3": storage.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
