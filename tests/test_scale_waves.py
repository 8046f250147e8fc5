"""Requests that come when others are finished, and judges of a chapter's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewlab import ContractBroken, compare, scale
from tests.apps import ECHO, write_app

REMEMBER = """
    from pathlib import Path

    def run(inputs):
        note = Path(inputs["company"])
        known = note.exists()
        note.touch()
        return f"{inputs['company']} is known" if known else inputs["company"]
"""
FIRST = [{"company": "Aldermoor"}, {"company": "Brightwater"}]


def test_the_second_requests_wait_for_all_of_the_first(tmp_path: Path) -> None:
    run = scale(write_app(tmp_path, ECHO), replicas=2, threads=4, requests=8, then=FIRST)
    assert [record.number for record in run.requests] == list(range(10))
    last_of_first = max(record.finished for record in run.requests[:8])
    assert all((record.started or 0) >= last_of_first for record in run.requests[8:])


def test_they_meet_the_same_replicas_with_the_same_disks(tmp_path: Path) -> None:
    run = scale(write_app(tmp_path, REMEMBER), replicas=2, threads=1, requests=FIRST, then=FIRST)
    run.expect(ok="all")
    assert [record.replica for record in run.requests[:2]] == [r.replica for r in run.requests[2:]]
    assert all("is known" in (record.answer or "") for record in run.requests[2:])


def test_they_are_lost_as_well_if_no_replica_starts(tmp_path: Path) -> None:
    scale(write_app(tmp_path, "raise SystemExit"), requests=FIRST, then=FIRST).expect(lost="all")


def test_a_run_with_its_own_judge_says_right_and_wrong_instead_of_naming_customers(
    tmp_path: Path,
) -> None:
    run = scale(write_app(tmp_path, ECHO), requests=FIRST, judge=lambda inputs, answer: False)
    assert run.expect(wrong="all") == "As expected: every request answered wrongly."
    assert "somebody else" not in str(run)
    assert "answered wrongly" in run._repr_html_()


def test_a_replicas_own_temporary_folder_can_be_named_in_its_environment(tmp_path: Path) -> None:
    app = write_app(
        tmp_path,
        """
        import os, tempfile

        def run(inputs):
            inside = os.path.join(tempfile.gettempdir(), "crewai") == os.environ["STORAGE"]
            return inputs["company"] if inside else "outside"
        """,
    )
    scale(app, replicas=2, requests=4, env={"STORAGE": "$(TMPDIR)/crewai"}).expect(ok="all")


def test_a_comparison_can_send_the_same_requests_and_know_where_the_broken_app_is_right(
    tmp_path: Path,
) -> None:
    always = "def run(inputs): return 'is known'"
    both = compare(
        {
            "broken": write_app(tmp_path, REMEMBER, "broken"),
            "fixed": write_app(tmp_path, always, "fixed"),
        },
        replicas=[1, 2],
        threads=1,
        requests=FIRST,
        then=[{**inputs, "day": 2} for inputs in reversed(FIRST)],
        judge=lambda inputs, answer: "day" not in inputs or "is known" in answer,
    )
    assert both.expect(but_right_at=[1]) == (
        "As expected at 1, 2 replicas: broken fails (but at 1), fixed answers every request right."
    )
    for wrong in ([], [2], [1, 2]):
        with pytest.raises(ContractBroken, match=r"broken was all right at \[1\]"):
            both.expect(but_right_at=wrong)
