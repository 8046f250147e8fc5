"""A read-only root file system, simulated inside one process.

File permissions stop nothing when a process runs as root, as it often does in a container, so the
refusal comes from an audit hook: it sees Python's own calls, not those of compiled libraries.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CHANGES = frozenset(
    {"os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink", "os.truncate"}
)
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _mode(path: str) -> int:
    try:
        return Path(path).stat().st_mode
    except OSError:
        return 0


def make_root_read_only(writable: Iterable[Path]) -> None:
    """Refuse every write outside some folders, for the rest of this process's life.

    Args:
        writable: folders that stay writable, like the volumes mounted into a container.
    """
    allowed = (*(os.path.realpath(folder) for folder in writable), "/proc")

    def refuse_outside(path: Any) -> None:
        if isinstance(path, int) or path is None:
            return
        real = os.path.realpath(os.fsdecode(path))
        if stat.S_ISCHR(_mode(real)):
            return  # a device such as /dev/null
        if not any(real == folder or real.startswith(folder + os.sep) for folder in allowed):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fsdecode(path))

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            writes = any(letter in mode for letter in "wax+") if mode else flags & _WRITE_FLAGS
            if writes:
                refuse_outside(path)
        elif event in _CHANGES:
            refuse_outside(args[0])
            if event == "os.rename":
                refuse_outside(args[1])
        elif event == "sqlite3.connect":
            refuse_outside(None if args[0] == ":memory:" else args[0])

    sys.addaudithook(hook)
