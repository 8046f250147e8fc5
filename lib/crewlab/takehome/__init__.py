"""The take-home service in ``template/``: its checklist, its files, its tests without a protection.

``crewlab.engines.service`` runs it on its workers.
"""

from __future__ import annotations

from crewlab.takehome.checklist import checklist
from crewlab.takehome.files import part
from crewlab.takehome.trial import take_away

__all__ = ["checklist", "part", "take_away"]
