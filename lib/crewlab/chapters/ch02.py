"""Chapter 02: check the environment at start-up."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from crewlab.app import App
from crewlab.exercises.shown_keys import PREFIX, shows_any
from crewlab.exercises.types import CheckResult, LogLine, Option, Quiz

if TYPE_CHECKING:
    from crewlab.results.run import Run
    from crewlab.services import Services
    from crewlab.services.control import EndpointControl

REQUESTS = 3
MODEL_KEY, SEARCH_KEY, REGIONS = NAMES = ("OPENAI_API_KEY", "SERPER_API_KEY", "BRIEFING_REGIONS")
BLANK = "  "

QUIZZES: dict[str, Quiz] = {
    "02-predict": Quiz(
        "A replica starts without `OPENAI_API_KEY` and without `SERPER_API_KEY`. When does it"
        " fail?",
        (
            Option(
                "When it imports the app: `LLM(...)` cannot be made without its key.",
                "It can. The client that needs the key is made later, on purpose: an app may be"
                " imported before its variables are set.",
            ),
            Option(
                "At the start-up check: `build_crew()` finds out.",
                "`build_crew()` makes an LLM, a tool, an agent, a task and a crew. All of them"
                " succeed without a key.",
            ),
            Option(
                "At its first request, after it has become ready.",
                "The key is looked at when the first kickoff calls the model. Until then the"
                " replica is green, and the customer is the check.",
                right=True,
            ),
            Option(
                "Never: the requests go to replicas that have the keys.",
                "Only a replica that is not ready gets no requests, and this one is ready.",
            ),
        ),
    ),
    "02-remember": Quiz(
        "A readiness probe builds the crew once and answers 200. Which of these replicas does it"
        " keep away from customers?",
        (
            Option(
                "The one without `OPENAI_API_KEY`.",
                "`LLM(...)` is made without it; the `ValueError` comes with the first kickoff.",
            ),
            Option(
                "The one whose `OPENAI_API_KEY` is empty.",
                "An empty key is passed on to the client, which refuses it when it is made. CrewAI"
                " calls that an `ImportError`. It is the only one of the four that shows.",
                right=True,
            ),
            Option(
                "The one whose `OPENAI_API_KEY` ends in a newline.",
                "The client takes it. It fails as a header of the first call, and the error says"
                " `Connection error`.",
            ),
            Option(
                "The one without `SERPER_API_KEY`.",
                "The tool reads its key when it searches, and the agent keeps that error to"
                " itself: the customer gets an answer without a search.",
            ),
        ),
    ),
}

LOGS: tuple[LogLine, ...] = (
    LogLine(
        "ValueError: OPENAI_API_KEY is required",
        "The replica lacks the variable, and CrewAI asks for it at the first kickoff only. "
        "Validate the environment at start-up.",
    ),
    LogLine(
        "ImportError: Error importing native provider: Missing credentials",
        "No package is missing: OPENAI_API_KEY is set and empty, as from an unset secret. Let "
        "empty count as missing, at start-up.",
    ),
    LogLine(
        "KeyError: 'SERPER_API_KEY'",
        "The search tool builds without its key and fails when it is first used. Validate the "
        "environment at start-up.",
    ),
    LogLine(
        "AttributeError: 'NoneType' object has no attribute 'split'",
        "os.getenv gave None and the code went on with it. Validate the environment at start-up.",
    ),
    LogLine(
        "a key, such as made-up-5c4e, in an error message",
        "Use SecretStr for keys, and hide inputs in validation errors.",
    ),
    LogLine(
        "2 validation errors for Settings",
        "The repair at work: the replica ends at start-up and names every variable it lacks. Set"
        " them.",
    ),
)

HINTS: tuple[str, ...] = (
    "Three variables are read at start-up. What does each of the three lines do when its variable "
    "is not there?",
    "`os.getenv` has a default, so it never fails. Put the three names into a settings class, as "
    "`fixed` does, as fields without a default, and make the settings when the module is imported.",
    "Missing, empty and blank must all be refused, in one message that names every variable and "
    "shows no value: `env_ignore_empty=True`, the type `Filled`, `hide_input_in_errors=True`. Then "
    "use `settings.OPENAI_API_KEY.get_secret_value()` where `MODEL_KEY` stood, and so on.",
)

BAD: tuple[Mapping[str, str | None], ...] = (
    dict.fromkeys(NAMES, None),
    dict.fromkeys(NAMES, ""),
    dict.fromkeys(NAMES, BLANK),
    *({name: None} for name in NAMES),
)
"""What is wrong with the environment of each replica that must not start."""


def check(app: App) -> CheckResult:
    """Deploy the learner's app with a complete environment, and with six that are not.

    Args:
        app: the learner's.

    Returns:
        Solved if it serves with all variables, and else refuses to start, names each variable
        that is missing, empty or blank, and shows no secret.
    """
    from crewlab import services
    from crewlab.deployment import scale

    local = services.current()
    if local is not None:
        local.model.reset()
        local.search.reset()
    complete = _complete(local)
    secrets = [complete[MODEL_KEY], complete[SEARCH_KEY]]
    good = scale(app, replicas=1, threads=REQUESTS, requests=REQUESTS, env=complete)
    problem = _leaks(good, secrets) or _serves(good, local)
    if problem:
        return problem
    environments = [{**complete, **changes} for changes in BAD]
    bad = scale(app, replicas=len(BAD), threads=1, requests=1, env=environments)
    return (
        _leaks(bad, secrets)
        or _starts(bad)
        or _names(bad)
        or CheckResult(
            True,
            "it serves with all three variables, and refuses to start without.",
            (
                "Tried: all missing, all empty, all blank, and each missing alone.",
                "Each message names what is missing; none shows a key.",
            ),
        )
    )


def _complete(local: Services | None) -> dict[str, str]:
    """Make up secrets that no text holds by chance; a learner's own services keep their keys."""
    made_up = {MODEL_KEY: f"{PREFIX}Qm7xWv3kZr9t", SEARCH_KEY: f"{PREFIX}Hd4yNc8pJb2s"}
    theirs = {
        MODEL_KEY: local is None or not local.model_is_local,
        SEARCH_KEY: local is None or not _search_is_local(local),
    }
    keys = {
        name: os.environ.get(name) or key if theirs[name] else key for name, key in made_up.items()
    }
    return {**keys, REGIONS: "EU,UK"}


def _search_is_local(local: Services) -> bool:
    return local.environment["SERPER_BASE_URL"].startswith("http://127.0.0.1:")


def _serves(run: Run, local: Services | None) -> CheckResult | None:
    if run.lost == REQUESTS:
        return CheckResult(
            False,
            f"with all three variables set, the app does not start: {run.first_error}.",
            hint="It must refuse an incomplete environment only.",
        )
    if run.ok < REQUESTS:
        seen = run.first_error or "answers about somebody else"
        return CheckResult(
            False, f"with all three variables set, not every customer is answered: {seen}."
        )
    if local is None:
        return None
    customers = {str(request.inputs["company"]) for request in run.requests}
    if local.model_is_local and not customers <= _asked_about(local.model):
        return CheckResult(
            False,
            "the answers are right, but not every customer's came from the model.",
            hint="Let the crew do the work: each request needs a kickoff of its own.",
        )
    if _search_is_local(local) and not customers <= _asked_about(local.search):
        return CheckResult(
            False,
            "every customer is answered, but not every briefing had a search behind it.",
            hint="Keep `headlines()`, and give it the search key.",
        )
    return None


def _asked_about(endpoint: EndpointControl) -> set[str]:
    answered = [call for call in endpoint.journal() if call.status == 200]
    return {name for call in answered for name in call.names}


def _leaks(run: Run, secrets: Iterable[str]) -> CheckResult | None:
    if not shows_any(run, secrets):
        return None
    return CheckResult(
        False,
        "a key can be read in what the app says.",
        ("Looked at: error messages, tracebacks, logs and answers.",),
        "pydantic shows what it was given, other variables included, unless"
        " `hide_input_in_errors=True`. Print no value yourself either.",
    )


def _starts(run: Run) -> CheckResult | None:
    """Find the first replica that became ready in spite of its environment."""
    for changes, replica in zip(BAD, run.replicas, strict=True):
        if replica.ready_after is None:
            continue
        value = next(iter(changes.values()))
        kind = {None: "missing", "": "empty", BLANK: "blank (only spaces)"}[value]
        hints = {
            None: "Read the variables when the module is imported, without a default for any.",
            "": "A variable can be set and hold nothing. Count that as missing:"
            " `env_ignore_empty=True`.",
            BLANK: "Spaces are not a value. Ask for at least one other character, as `Filled`"
            " does.",
        }
        return CheckResult(
            False,
            f"the replica becomes ready although {_listed(changes)} {_is(changes)} {kind}.",
            ("Ready means that the next customer is sent to it.",),
            hints[value],
        )
    return None


def _names(run: Run) -> CheckResult | None:
    said = []
    for changes, replica in zip(BAD, run.replicas, strict=True):
        # The source lines of a traceback name variables by chance.
        printed = replica.log.partition("Traceback (most recent call last)")[0]
        said.append(f"{replica.error}\n{printed}".upper())
        unnamed = [name for name in changes if name not in said[-1]]
        if unnamed:
            return CheckResult(
                False,
                f"it refuses to start, and its message does not name {_listed(unnamed)}.",
                (f"Missing, empty or blank at that start: {_listed(changes)}.",),
                "Whoever repairs the manifest wants all names at once, not one a restart. A"
                " settings class collects them.",
            )
    if len(set(said[3:])) < len(said[3:]):
        return CheckResult(
            False,
            "it says the same whichever variable is missing.",
            (f"Tried: {_listed(NAMES)}, each missing alone.",),
            "Name those that are missing. Whoever reads it should not have to guess.",
        )
    return None


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _is(names: Mapping[str, object]) -> str:
    return "are" if len(names) > 1 else "is"
