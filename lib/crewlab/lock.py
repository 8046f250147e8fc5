"""Compare what is installed with ``requirements.lock``."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

_PIN = re.compile(r"^(?P<requirement>[A-Za-z0-9][^\s;\\]*==[^\s;\\]+(?:\s*;[^\\\n]*)?)")


def read_pins(lock: Path) -> list[Requirement]:
    """Read the packages a lock wants on this system and this Python.

    Args:
        lock: a requirements file with ``name==version ; marker`` lines and hashes.

    Returns:
        One requirement a package.

    Raises:
        OSError: the file cannot be read.
    """
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [pin for line in lines if (pin := _pin(line)) is not None]


def difference(pin: Requirement) -> str | None:
    """Say how the installed package differs from its pin; None if it does not."""
    try:
        installed = importlib.metadata.version(pin.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{pin.name} is missing"
    if installed in pin.specifier:
        return None
    return f"{pin.name} is {installed}, not {str(pin.specifier).removeprefix('==')}"


def _pin(line: str) -> Requirement | None:
    match = _PIN.match(line)
    if match is None:
        return None
    try:
        pin = Requirement(match["requirement"].strip())
    except InvalidRequirement:
        return None
    return pin if pin.marker is None or pin.marker.evaluate() else None
