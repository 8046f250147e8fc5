"""Kernels that neither see nor change anything of the person who starts them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# A learner waits a few seconds for a cell; past this many, the cell hangs.
CELL_SECONDS = 60

_ROOMS = {
    "CREWLAB_HOME": "home",
    "IPYTHONDIR": "ipython",
    "TMPDIR": "tmp",
    "TEMP": "tmp",
    "TMP": "tmp",
}
# A learner's own model, search or storage must not write the course's answers.
_OWN_SERVICES = ("OPENAI_", "SERPER_", "AWS_")
# Set in JupyterLab's terminal: a kernel started from there would take itself for that notebook.
_SESSION = "JPY_SESSION_NAME"


def private_environment(rooms: Path) -> dict[str, str]:
    """Make the environment of a kernel with a home, temp folder and settings of its own.

    Args:
        rooms: an existing folder; the kernel's folders are made inside.

    Returns:
        This process's environment with those folders, and without the learner's own services.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != _SESSION and not name.startswith(_OWN_SERVICES)
    }
    for variable, room in _ROOMS.items():
        (rooms / room).mkdir(parents=True, exist_ok=True)
        environment[variable] = str(rooms / room)
    return environment


@contextmanager
def private_rooms() -> Iterator[tuple[dict[str, str], Path]]:
    """Keep a kernel's rooms for as long as the block runs.

    Yields:
        The kernel's environment and the folder that holds its rooms.
    """
    # ignore_cleanup_errors: Windows keeps files locked for a moment after a kernel's end.
    with tempfile.TemporaryDirectory(prefix="crewlab-build-", ignore_cleanup_errors=True) as name:
        rooms = Path(name).resolve()
        yield private_environment(rooms), rooms


def this_python() -> type[Any]:
    """Make a kernel manager for this Python, whatever kernels the author installed.

    Returns:
        A class: nbclient ends a kernel only if it made the kernel's manager itself.
    """
    import ipykernel.kernelspec
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(
                resource_dir=ipykernel.kernelspec.RESOURCES,
                **ipykernel.kernelspec.get_kernel_dict(),
            )

    return ThisPython
