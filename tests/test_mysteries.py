"""The mysteries: evidence tells each one's cause, the healthy one shows none, verdicts judge."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from crewlab import App
from crewlab.mysteries import NUMBERS, Mystery, mystery
from crewlab.mysteries.cases import CASES
from crewlab.mysteries.causes import CAUSES
from crewlab.mysteries.mystery import SOURCES
from crewlab.mysteries.verdicts import judge
from tests.whole import some, whole

HEALTHY = 9
FORKED = 2

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
pytestmark = pytest.mark.usefixtures("mysteries")


def test_there_are_enough_mysteries_and_they_cover_every_cause() -> None:
    assert len(NUMBERS) >= 8
    assert {name for case in CASES.values() for name in case.causes} == set(CAUSES)
    assert {cause.chapter for cause in CAUSES.values()} == {f"{n:02}" for n in range(1, 10)}
    assert [number for number, case in CASES.items() if not case.causes] == [HEALTHY]
    assert any(len(case.causes) == 2 for case in CASES.values())


@pytest.mark.parametrize("number", NUMBERS)
def test_an_app_and_its_symptom_do_not_name_the_cause(number: int) -> None:
    text = (SOURCES / f"service_{number:02}.py").read_text(encoding="utf-8").lower()
    case = CASES[number]
    told = f"{case.title} {case.symptom}".lower()
    for words in (*CAUSES, "bug", "broken", "mystery", "crewlab", "race", "leak"):
        assert not re.search(rf"\b{words}\b", text), words
        assert not re.search(rf"\b{words}\b", told), words


IN_THE_CHAPTER = {1, 2, 3, 7}  # which its solved edition looks at itself
PAIRS = [
    pytest.param(
        number,
        cause,
        marks=[needs_fork] * (number == FORKED) + [whole] * (number in IN_THE_CHAPTER),
    )
    for number, case in CASES.items()
    for cause in case.causes
]


@pytest.mark.parametrize(("number", "cause"), PAIRS)
def test_the_evidence_tells_the_cause(number: int, cause: str) -> None:
    assert CAUSES[cause].shows(mystery(number))
    assert set(CAUSES[cause].tools) <= mystery(number).gathered | {"own_globals"}


@pytest.mark.parametrize("cause", some(CAUSES, "shared objects", "leak"))
def test_the_healthy_one_shows_no_evidence_of_any_cause(cause: str) -> None:
    healthy = mystery(HEALTHY)
    assert not CAUSES[cause].shows(healthy)
    run = healthy._last
    assert run is not None
    run.expect(ok="all")


@pytest.mark.whole
def test_the_healthy_one_is_right_again_and_again() -> None:
    for _ in range(3):
        mystery(HEALTHY).together(latency=0.1).expect(ok="all")


def looked_at(number: int, *tools: str) -> Mystery:
    case = mystery(number)
    case.gathered.update(tools or ("alone",))
    return case


def test_a_verdict_without_evidence_is_not_judged() -> None:
    said = judge(mystery(3), ["leak"])
    assert not said.right
    assert "you have not looked yet" in said.headline


@pytest.mark.parametrize("number", NUMBERS)
def test_the_right_names_are_right_and_any_other_single_name_is_not(number: int) -> None:
    case = looked_at(number)
    true = case.case.causes or ("healthy",)
    assert judge(case, true).right
    for name in (*CAUSES, "healthy"):
        if (name,) != true:
            said = judge(case, [name])
            assert not said.right
            assert said.lines, "it must say which evidence would have told"


def test_one_of_two_causes_is_half_the_answer() -> None:
    said = judge(looked_at(7, "together"), ["shared objects"])
    assert not said.right
    assert said.headline == "Right about shared objects, and something else is wrong as well."
    assert "replicas=4, threads=1" in said.lines[0]
    assert "look again" in said.lines[0]


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ([], "name a cause"),
        (["gremlins"], "'gremlins' is no cause"),
        (list(CAUSES), "to name everything is no diagnosis"),
        (["leak", "healthy"], "it is healthy, or it has a cause"),
    ],
)
def test_names_that_are_no_diagnosis_are_not_judged(named: list[str], says: str) -> None:
    said = judge(looked_at(3), named)
    assert not said.right
    assert says in said.headline


def test_there_is_no_other_mystery() -> None:
    with pytest.raises(ValueError, match="numbered from 1 to 11"):
        mystery(12)


def test_only_who_takes_orders_has_payments() -> None:
    with pytest.raises(ValueError, match="takes no orders"):
        mystery(1).payments()
    with pytest.raises(ValueError, match="has not run yet"):
        mystery(1).replicas()


def test_an_app_opened_as_a_mystery_lies_where_the_learner_can_import_it(tmp_path: Path) -> None:
    app = mystery(4).app
    assert app == App.from_file(tmp_path / "service_04.py")
