"""An app that does nothing but tell its private memory, so that its start-up is all there is."""

from __future__ import annotations

from typing import Any

import psutil


def run(inputs: dict[str, Any]) -> str:
    private = psutil.Process().memory_full_info().uss / 2**20
    return f"{inputs['company']} {private:.1f}"
