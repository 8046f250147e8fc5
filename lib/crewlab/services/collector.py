"""A telemetry collector that is dead in the worst way: it takes connections and says nothing."""

from __future__ import annotations

import contextlib
import socket
from html import escape
from types import TracebackType

from crewlab.services.process import ServicesError

PATIENCE = 0.5  # s for what was sent before a caller's end


class SilentCollector:
    """A socket on this machine, in the place of CrewAI's telemetry collector.

    CrewAI knows its collector by one fixed address, an HTTPS one. So an app is led here as it is
    led out of many a data centre: by a proxy, which in this case never answers. Nothing leaves the
    machine, and no name is looked up. That is also what a firewall looks like that drops packets.
    """

    def __init__(self) -> None:
        """Open the socket: the system takes connections, and nobody ever reads from them."""
        try:
            self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        except OSError as problem:
            raise ServicesError(f"No socket for the silent collector: {problem}.") from None
        self._listening.settimeout(PATIENCE)
        self._heard: list[str] = []

    @property
    def environment(self) -> dict[str, str | None]:
        """What turns CrewAI's telemetry on in a replica and leads it here; for ``scale(env=)``."""
        proxy = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        here = "127.0.0.1,localhost"
        # Every spelling of each name, since one of the learner's own would come before ours.
        return {
            "CREWAI_DISABLE_TELEMETRY": None,
            "CREWAI_DISABLE_TRACKING": None,
            "OTEL_SDK_DISABLED": None,
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": here,
            "no_proxy": here,
        }

    def heard(self) -> list[str]:
        """Give the first line of what each caller has said so far, and hang up on them."""
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                with caller:
                    caller.settimeout(PATIENCE)
                    said = caller.recv(1024).decode("ascii", errors="replace")
                    self._heard.append(said.partition("\r\n")[0])
        return list(self._heard)

    def close(self) -> None:
        """Close the socket; who still waits for an answer gets an error."""
        self.heard()
        self._listening.close()

    def __str__(self) -> str:
        return "\n".join(["The silent collector heard:", *self._heard])

    def _ipython_display_(self) -> None:
        from crewlab.results.html import varies
        from crewlab.results.show import show

        self.heard()
        lines = "<br>".join(f"<code>{escape(line)}</code>" for line in self._heard)
        show(str(self), varies(f"<p>The silent collector heard:<br>{lines}</p>"))

    def __enter__(self) -> SilentCollector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
