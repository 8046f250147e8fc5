"""What a replica imports before its first request, imported once in the process that forks it.

The fork server runs this at its start. It imports and never kicks off: a crew kicked off here would
leave CrewAI's event bus with a thread pool whose threads do not survive the fork.
"""

from __future__ import annotations

import functools
import gc
import importlib
import os
import sys
import warnings
from pathlib import Path

from crewlab.deployment.container import GRAMMAR
from crewlab.offline import OFFLINE

MODULES: tuple[str, ...] = (
    "crewai",
    "crewai_tools",
    "crewai.hooks.contexts",
    "crewai.llms.cache",
    "crewai.llms.providers.openai.completion",
    "crewai.skills.tool",
    "langchain_openai",
    "openai.resources",
    "openai.resources.beta",
    "openai.resources.chat",
    "openai.resources.responses",
    "openai.types",
    "openai.types.beta",
    "openai.types.chat",
    "openai.types.responses",
    "boto3",
    "h11",
    "httpcore",
    "crewlab.deployment.replica",
)
"""Found by comparing ``sys.modules`` before and after a first kickoff (crewai 1.15.30)."""

USED_BY_A_KICKOFF = ("crewai.", "openai.types.chat", "openai.types.completion_usage")


def import_all() -> None:
    """Import everything in ``MODULES``; what is not installed is left out."""
    # CrewAI makes a storage folder, and starts its telemetry's thread, when it is imported. The
    # folder belongs with the other temporary ones; the thread would not survive a fork.
    os.environ.update(OFFLINE)
    if scratch := os.environ.get("CREWLAB_SCRATCH"):
        home = Path(scratch) / "fork-server"
        home.mkdir(exist_ok=True)
        os.environ.update(HOME=str(home), XDG_DATA_HOME=str(home))
    sys.modules[GRAMMAR] = None  # type: ignore[assignment]
    gc.disable()  # some 3,500 modules are made to stay: looking for garbage among them is in vain
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in MODULES:
            try:
                importlib.import_module(name)
            except ImportError:
                continue
    del sys.modules[GRAMMAR]
    complete()
    # Objects made so far are shared by every replica. Keep the collector from writing to their
    # pages, or each replica would soon own a copy of all of them.
    gc.freeze()
    gc.enable()


@functools.cache
def complete() -> None:
    """Build here what first kickoffs build otherwise, each on its own thread and without a lock.

    So every replica is warm before it is ready, as chapter 06 wants it: the fork server does this
    once for all that it forks, the others for themselves. ``template/service/warm.py`` is its twin
    in the service to take home, which stands without this package.

    Seen with crewai 1.15.30 where six first kickoffs met in one process that switched threads every
    2 microseconds: 26 of 900 failed ("dictionary changed size during iteration", "Pydantic models
    should inherit from BaseModel"). They build the executor's flow definition, and the pydantic
    models whose building was put off until they are used.
    """
    try:
        from crewai.agents.agent_executor import AgentExecutor
        from pydantic import BaseModel
    except ImportError:
        return
    AgentExecutor.flow_definition()
    waiting = [BaseModel]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        waiting += subclasses
        for model in subclasses:
            put_off = not model.__dict__.get("__pydantic_complete__", False)
            if put_off and model.__module__.startswith(USED_BY_A_KICKOFF):
                model.model_rebuild(raise_errors=False)
