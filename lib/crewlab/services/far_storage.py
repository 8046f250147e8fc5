"""The object storage as it is from afar: every write takes its time on the way."""

from __future__ import annotations

import os
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

from crewlab.services.guard import allowed_hosts, is_foreign

TIMEOUT = 20.0  # s
NOT_PASSED_ON = {"host", "connection", "expect", "transfer-encoding", "content-length"}


class FarStorage:
    """A way to the object storage on which writes are slow, and lookups are not.

    Between looking and writing there is room for somebody else, however close the two lines are.
    On this machine the room is a few milliseconds; here it is long enough to be met for certain.
    """

    def __init__(self, seconds: float, address: str | None = None) -> None:
        """Open the way, for as long as the ``with`` block lasts.

        Args:
            seconds: how long each write is on its way.
            address: the storage's; by default the one that the environment leads apps to.
        """
        there = urlsplit(address or os.environ.get("AWS_ENDPOINT_URL_S3", ""))
        self._leads_somewhere = there.hostname == "127.0.0.1"

        class Passing(_Passing):
            delay = seconds
            upstream = there.netloc

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
        self._serving = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="far storage", daemon=True
        )

    @property
    def environment(self) -> dict[str, str]:
        """What leads an app this way; nothing if the storage is on another machine: far enough."""
        if not self._leads_somewhere:
            return {}
        return {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self._server.server_address[1]}"}

    def __enter__(self) -> FarStorage:
        self._serving.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    delay = 0.0
    upstream = ""

    def _pass_on(self) -> None:
        hosts = allowed_hosts(self.connection.getsockname()[1])
        if is_foreign(self.headers.get("Host"), self.headers.get("Origin"), hosts):
            self.send_error(403)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "PUT":
            time.sleep(self.delay)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in NOT_PASSED_ON}
        there = HTTPConnection(self.upstream, timeout=TIMEOUT)
        try:
            there.request(self.command, self.path, body or None, headers)
            answer = there.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in NOT_PASSED_ON | {"date", "server"}:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True  # either side has left; nobody waits for more
        finally:
            there.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: this runs in the learner's notebook."""
