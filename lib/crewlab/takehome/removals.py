"""For each line of the checklist one small edit of the take-home service that takes it away."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """A text in a file of the service, and what stands there without the protection.

    Attributes:
        file: its name in ``template/service``.
        old: the text, which is there once.
        new: what takes its place.
    """

    file: str
    old: str
    new: str


_SHARED_CREW = (
    Edit("crew.py", "from crewai import", "from functools import cache\n\nfrom crewai import"),
    Edit("crew.py", "def build_crew", "@cache\ndef build_crew"),
)

REMOVALS: dict[int, tuple[Edit, ...]] = {
    1: _SHARED_CREW,
    2: (
        Edit(
            "settings.py",
            "    openai_api_key: SecretStr\n",
            '    openai_api_key: SecretStr = SecretStr("")\n',
        ),
    ),
    3: (
        Edit(
            "reports.py",
            "from typing import Any",
            "from pathlib import Path\nfrom typing import Any",
        ),
        Edit(
            "reports.py",
            "        try:\n            found = self._client.get_object(",
            '        place = Path(f"{job.name}.json")\n'
            "        if place.exists():\n"
            "            return Report.model_validate_json(place.read_text())\n"
            "        try:\n            found = self._client.get_object(",
        ),
        Edit(
            "reports.py",
            "        try:\n            self._client.put_object(",
            '        Path(f"{job.name}.json").write_text(report.model_dump_json())\n'
            "        return report\n"
            "        try:\n            self._client.put_object(",
        ),
    ),
    4: (
        Edit(
            "jobs.py",
            'ConfigDict(extra="forbid", frozen=True)\n\n    company: Name',
            "ConfigDict(frozen=True)\n\n    company: Name",
        ),
    ),
    5: (
        Edit(
            "desk.py",
            "        if self.busy >= "
            "self._settings.service_kickoffs + self._settings.service_waiting:\n"
            "            raise Full\n",
            "",
        ),
    ),
    6: (
        Edit(
            "app.py",
            'log = logging.getLogger("service")',
            'build_crew(SETTINGS).kickoff(inputs={"company": "Yarrowdale"})\n'
            'log = logging.getLogger("service")',
        ),
    ),
    7: (Edit("crew.py", "tasks=[report])", "tasks=[report], max_rpm=60)"),),
    8: (Edit("crew.py", "        max_retry_limit=0,\n", ""),),
    9: (Edit("desk.py", "asyncio.wait_for(asyncio.shield(work), ", "asyncio.wait_for(work, "),),
    10: (Edit("reports.py", '                IfNoneMatch="*",\n', ""),),
    11: (Edit("app.py", "        await asyncio.to_thread(desk.close)\n", ""),),
    12: (
        Edit("logs.py", "            line = line.replace(secret, HIDDEN)\n", "            pass\n"),
    ),
    13: (Edit("app.py", "    await asyncio.to_thread(reports.check)\n", ""),),
    14: _SHARED_CREW,
}
"""By the line's number. 14 is a test itself: it must notice what 1 takes away."""

QUICK = (2, 3, 4, 5, 9, 10, 12)
"""Lines whose test neither imports CrewAI anew nor starts a server."""
