"""Whose name an answer carries."""

from __future__ import annotations

import pytest

from crewlab.companies import COMPANIES, default_requests
from crewlab.deployment.judge import NameJudge

JUDGE = NameJudge([{"company": "U1"}, {"company": "U10"}, {"company": "North Sea (UK)"}])


@pytest.mark.parametrize(
    ("number", "answer", "right"),
    [
        (0, "Report on U1.", True),
        (0, "Report on U10.", False),
        (0, "Report on U1 and U10.", False),
        (0, "Report on nobody.", False),
        (0, "", False),
        (1, "U10, and U10 again", True),
        (1, "xU10", False),
        (2, "About North Sea (UK).", True),
        (2, "About North Sea.", False),
    ],
)
def test_an_answer_is_right_if_it_names_its_own_customer_and_no_other(
    number: int, answer: str, right: bool
) -> None:
    assert JUDGE.is_right(number, answer) is right


def test_a_text_that_several_requests_share_identifies_none_of_them() -> None:
    judge = NameJudge([{"company": "A", "topic": "AI"}, {"company": "B", "topic": "AI"}])
    assert judge.is_right(0, "A does AI")
    assert not judge.is_right(0, "B does AI")


def test_where_all_ask_the_same_any_answer_counts() -> None:
    assert NameJudge([{"topic": "AI"}] * 2).is_right(1, "anything")
    assert NameJudge([{"number": 3}]).is_right(0, "anything")


def test_the_invented_companies_can_be_told_apart_in_any_number() -> None:
    requests = default_requests(200)
    names = [request["company"] for request in requests]
    assert len(set(names)) == 200
    assert names[: len(COMPANIES)] == list(COMPANIES)
    judge = NameJudge(list(requests))
    assert all(judge.is_right(number, f"Report on {name}.") for number, name in enumerate(names))
    assert not judge.is_right(0, f"Report on {names[0]} and {names[-1]}.")
