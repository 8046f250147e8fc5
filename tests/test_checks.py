"""What the check of each chapter says of an app that does no work at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crewlab.exercises import catalog
from crewlab.exercises.check import evaluate
from crewlab.services import Services
from tests.chapter_apps import ChapterApps
from tests.hosts import can_fork

ENDS = "raise SystemExit('closed')"
FAILS = "raise RuntimeError('closed')"
ANSWERS_NOTHING = "def run(inputs): return ''"
RETURNS_NONE = "def run(inputs): return None"

NOT_STARTED = "the app does not start: SystemExit: closed."
ABOUT_OTHERS = "customers are answered about somebody else"
NOT_ANSWERED = "not every customer is answered: TypeError"

SAYS: dict[str, dict[str, str]] = {
    "01": {ENDS: NOT_STARTED, ANSWERS_NOTHING: ABOUT_OTHERS, RETURNS_NONE: NOT_ANSWERED},
    "02": {
        ENDS: NOT_STARTED,
        ANSWERS_NOTHING: "answers about somebody else",
        RETURNS_NONE: NOT_ANSWERED,
    },
    "03": {
        ENDS: NOT_STARTED,
        ANSWERS_NOTHING: "a draft is not about the customer who asked",
        RETURNS_NONE: "not every draft is written: TypeError",
    },
    "04": {ENDS: NOT_STARTED, ANSWERS_NOTHING: ABOUT_OTHERS, RETURNS_NONE: NOT_ANSWERED},
    "05": {
        ENDS: NOT_STARTED,
        ANSWERS_NOTHING: "not every customer is answered: answers that do not name",
        RETURNS_NONE: NOT_ANSWERED,
    },
    "06": {
        ENDS: NOT_STARTED,
        ANSWERS_NOTHING: "an answer is not about the customer who asked",
        RETURNS_NONE: "not every letter is written: TypeError",
    },
    "07": {ENDS: NOT_STARTED, ANSWERS_NOTHING: ABOUT_OTHERS, RETURNS_NONE: NOT_ANSWERED},
    "08": {ENDS: NOT_STARTED, ANSWERS_NOTHING: ABOUT_OTHERS, RETURNS_NONE: NOT_ANSWERED},
    "09": {
        ENDS: NOT_STARTED,
        ANSWERS_NOTHING: "an answer does not name the customer",
        RETURNS_NONE: "not every order is answered: TypeError",
    },
    "10": {ENDS: NOT_STARTED, RETURNS_NONE: "shared objects still shows"},
    "11": {
        ENDS: "does not say why",
        RETURNS_NONE: "the service starts without OPENAI_API_KEY",
    },
    "12": {
        ENDS: "the service does not start: SystemExit: closed.",
        RETURNS_NONE: "0 of 3 causes are repaired.",
    },
    "13": {FAILS: "the task does not start: RuntimeError: closed"},
}
"""What is said, by chapter and text of the app; a chapter of yours needs only not to be solved."""

NOT_SOLVED = dict.fromkeys((ENDS, ANSWERS_NOTHING, RETURNS_NONE), "")

BEFORE = {"10": "MYSTERY = 7\nCAUSES = ['local disk', 'shared objects']\n"}
"""What an app must begin with to be run at all."""

FIXTURES = {"10": "mysteries", "12": "few_stages", "13": "broker_in_environment"}
"""What a chapter needs beside the services."""

HAS_FORK = hasattr(os, "fork")
MARKS: dict[str, pytest.MarkDecorator] = {
    "04": pytest.mark.skipif(not HAS_FORK, reason="the job processes are forked"),
    "06": pytest.mark.skipif(not HAS_FORK, reason="this system has no fork"),
    "12": pytest.mark.skipif(not HAS_FORK, reason="the service forks job processes"),
    "13": can_fork,
}

CASES = [
    pytest.param(number, source, says, id=f"{number}-{source}", marks=MARKS.get(number, ()))
    for number in catalog.numbers()
    if catalog.chapter(number).check is not None
    for source, says in SAYS.get(number, NOT_SOLVED).items()
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("number", "source", "says"), CASES)
@pytest.mark.usefixtures("services_as_new")
def test_an_answer_that_does_not_work_at_all_is_told_what_was_seen(
    number: str,
    source: str,
    says: str,
    tmp_path: Path,
    services: Services,
    request: pytest.FixtureRequest,
) -> None:
    if number in FIXTURES:
        request.getfixturevalue(FIXTURES[number])
    folder = tmp_path / "apps"
    folder.mkdir()
    services.model.configure(latency=0.09)
    services.search.configure(latency=0.04)
    learners = (services.model.settings, services.search.settings)
    apps = ChapterApps(number, folder)
    result = evaluate(number, apps.save(apps.exercise, BEFORE.get(number, "") + source))
    assert not result.solved
    assert says in result.message
    assert (services.model.settings, services.search.settings) == learners
