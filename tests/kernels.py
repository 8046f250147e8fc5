"""A notebook's kernel, driven cell by cell, for tests of what a learner sees."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

KILL_SERVICES = """
import os, psutil, time
psutil.Process(services.pid).kill()
if hasattr(os, "waitid"):  # wait until it can be reaped, and leave that to its owner
    os.waitid(os.P_PID, services.pid, os.WEXITED | os.WNOWAIT)
else:
    time.sleep(1)
"""
"""A cell that kills the local services' process and waits until it is dead."""


class _ThisPython(KernelManager):
    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python", language="python")


@dataclass
class Cell:
    """What one cell put out.

    Attributes:
        status: "ok" or "error".
        text: what it printed.
        bundles: what it displayed, by MIME type; updates follow in ``updates``.
        error: the lines shown for an error.
    """

    status: str = "ok"
    text: str = ""
    bundles: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    error: list[str] = field(default_factory=list)


class Kernel:
    """A running kernel."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client

    def run(self, code: str) -> Cell:
        """Run a cell and collect its output."""
        cell = Cell()

        def collect(message: dict[str, Any]) -> None:
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    cell.text += content["text"]
                case "display_data" | "execute_result":
                    cell.bundles.append(content["data"])
                case "update_display_data":
                    cell.updates.append(content["data"])
                case "error":
                    cell.error = content["traceback"]

        reply = self.client.execute_interactive(code, output_hook=collect, timeout=60)
        cell.status = reply["content"]["status"]
        return cell

    def restart(self) -> None:
        """Restart the kernel, as the front end's menu does."""
        self.manager.restart_kernel()
        self.client.wait_for_ready(timeout=60)

    def load(self, *, preload: bool = False) -> Cell:
        """Run ``%load_ext crewlab``.

        Args:
            preload: warm replicas up too, which takes some 5 s of CPU beside the test.
        """
        if not preload:
            self.run("import crewlab.deployment as d; d.preload = lambda: None; del d")
        return self.run("%load_ext crewlab")


@contextlib.contextmanager
def kernel(home: Path, *, notebook: Path | None = None, **environment: str) -> Iterator[Kernel]:
    """Start a kernel; it is gone when the block ends.

    Args:
        home: its CREWLAB_HOME.
        notebook: the notebook it belongs to, as JupyterLab would say; None as under nbclient.
        environment: further variables.
    """
    env = {**os.environ, "CREWLAB_HOME": str(home), **environment}
    env.pop("JPY_SESSION_NAME", None)
    if notebook is not None:
        env["JPY_SESSION_NAME"] = str(notebook)
    manager = _ThisPython()
    manager.start_kernel(env=env, cwd=str(home.parent))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
