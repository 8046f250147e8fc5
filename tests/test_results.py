"""What a run says of itself, and what can be demanded of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crewlab import App, ContractBroken, Run, compare, diff
from crewlab.deployment.tidy import shorten
from crewlab.results.compare import Comparison
from crewlab.results.kills import KillComparison
from crewlab.results.ledger import Entry, Ledger
from crewlab.results.records import KINDS, Kind, ReplicaRecord, RequestRecord
from crewlab.results.show import png
from crewlab.results.text import cut
from tests.apps import ECHO, write_app


def make_run(**counts: int) -> Run:
    kinds: list[Kind] = [kind for kind in KINDS for _ in range(counts.get(kind, 0))]
    requests = [
        RequestRecord(
            number,
            {"company": f"U{number}"},
            kind,
            answer="Report on <U99>" if kind in ("ok", "wrong") else None,
            error="RuntimeError: Executor is already running." if kind == "error" else None,
            traceback="Traceback ...\nRuntimeError" if kind == "error" else None,
            replica=f"app-{number % 2}",
            thread=number // 2 % 2,
            started=number * 0.1,
            finished=number * 0.1 + 0.5,
        )
        for number, kind in enumerate(kinds)
    ]
    replicas = [
        ReplicaRecord("app-0", "Running", ready=True, peak_memory=260.4),
        ReplicaRecord("app-1", "OOMKilled", exit_code=137, events=["1.00 s: killed <it>"]),
    ]
    return Run("app", replicas, requests, 2, "spawn", 0.5, 2.0)


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        ({"ok": 3}, "As expected: 3 requests answered about the right customer."),
        (
            {"error": "already running", "wrong": "some"},
            "As expected: at least one request answered about somebody else;"
            " an error says 'already running'.",
        ),
        ({"lost": "none"}, "As expected: no request was lost with its replica."),
        ({"status": "OOMKilled"}, "As expected: a replica is OOMKilled."),
        ({"errors": 2, "timeout": 0}, None),
    ],
)
def test_what_holds_is_said_in_one_sentence(expected: Any, sentence: str | None) -> None:
    verdict = make_run(ok=3, wrong=1, error=2).expect(**expected)
    assert repr(verdict).startswith("As expected: ")
    assert sentence is None or repr(verdict) == sentence


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (1, "As expected: 1 request was lost with its replica."),
        (2, "As expected: 2 requests were lost with their replicas."),
        (0, "As expected: 0 requests were lost with their replicas."),
    ],
)
def test_one_request_was_and_several_were(number: int, sentence: str) -> None:
    assert make_run(ok=1, lost=number).expect(lost=number) == sentence


@pytest.mark.parametrize(
    "expected",
    [
        {"ok": "all"},
        {"ok": 4},
        {"wrong": "none"},
        {"lost": "some"},
        {"error": "no such text"},
        {"status": "CrashLoopBackOff"},
        {"ok": 3, "timeout": "some"},
    ],
)
def test_what_does_not_hold_breaks_the_contract_and_says_what_was_seen(expected: Any) -> None:
    with pytest.raises(ContractBroken, match="3 ok, 1 wrong, 2 error") as broken:
        make_run(ok=3, wrong=1, error=2).expect(**expected)
    assert "Executor is already running" in str(broken.value)
    assert len(str(broken.value).splitlines()) <= 3


def test_a_contract_that_demands_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="given nothing"):
        make_run(ok=1).expect()


def test_counts_add_up_and_everything_is_plain_data() -> None:
    run = make_run(ok=2, wrong=1, error=1, timeout=1, lost=3)
    assert run.counts == {"ok": 2, "wrong": 1, "error": 1, "timeout": 1, "lost": 3}
    assert sum(run.counts.values()) == len(run.requests)
    data = json.loads(json.dumps(run.to_dict()))
    assert data["counts"]["lost"] == 3
    assert data["replicas"][1]["exit_code"] == 137


def test_peak_concurrency_counts_overlapping_requests() -> None:
    assert make_run(ok=3).peak_concurrency == 3
    assert make_run(ok=20).peak_concurrency == 5  # one starts every 0.1 s and takes 0.5 s


def test_text_and_html_say_the_same_and_escape_what_apps_print() -> None:
    run = make_run(ok=1, wrong=1, error=1)
    for text in ("OOMKilled", "137", "RuntimeError: Executor is already running.", "260 MiB"):
        assert text in str(run)
        assert text in run._repr_html_()
    assert "asked about U1, was told: Report on <U99>" in str(run)
    assert "Report on &lt;U99&gt;" in run._repr_html_()
    assert "<U99>" not in run._repr_html_()
    assert "killed &lt;it&gt;" in run._repr_html_()


def test_a_start_up_failure_is_the_first_error() -> None:
    run = make_run(lost=2)
    run.replicas[0].error, run.replicas[0].traceback = "KeyError: 'KEY'", "at import"
    assert (run.first_error, run.first_traceback) == ("KeyError: 'KEY'", "at import")
    assert run.errors == {"KeyError: 'KEY'": 1}


@pytest.mark.parametrize("counts", [{"lost": 2}, {"ok": 1}, dict.fromkeys(KINDS, 3), {"ok": 200}])
def test_every_run_can_be_drawn(counts: dict[str, int]) -> None:
    picture = png(make_run(**counts).picture())
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 200_000


def test_a_picture_without_a_begun_request_says_so_on_an_axis_of_seconds() -> None:
    run = make_run(lost=2)
    [axes] = run.picture().axes
    assert [text.get_text() for text in axes.texts] == ["† U0", "† U1"]
    for record in run.requests:
        record.started, record.finished = None, 3e-5
    [axes] = run.picture().axes
    assert [text.get_text() for text in axes.texts] == ["No request was begun."]
    assert axes.get_xlim()[1] >= 1


def test_a_comparison_demands_that_broken_fails_everywhere_and_fixed_nowhere() -> None:
    good, bad = make_run(ok=4), make_run(ok=3, wrong=1)
    fine = Comparison({"broken": {1: bad, 2: bad}, "fixed": {1: good, 2: good}}, [1, 2])
    assert "at 1, 2 replicas: broken fails" in fine.expect()
    assert fine.rows[0] == ("1", "3 of 4 right (1 wrong)", "4 of 4 right")
    assert png(fine.picture()).startswith(b"\x89PNG")
    assert "3 of 4 right (1 wrong)" in fine._repr_html_()
    for runs in ({1: good, 2: bad}, {1: bad, 2: good}):
        with pytest.raises(ContractBroken):
            Comparison({"broken": {1: bad, 2: bad}, "fixed": runs}, [1, 2]).expect()
        with pytest.raises(ContractBroken):
            Comparison({"broken": runs, "fixed": {1: good, 2: good}}, [1, 2]).expect()


def test_payments_are_drawn_as_they_are_counted() -> None:
    def ledger(*payments: int) -> Ledger:
        return Ledger(tuple(Entry(str(n), "U", ("ok",), paid) for n, paid in enumerate(payments)))

    ledgers = {
        "broken": {1: ledger(1, 2), 4: ledger(2, 0, 3)},
        "fixed": {1: ledger(1, 1), 4: ledger(1, 1, 1)},
    }
    figure = KillComparison({}, ledgers, [1, 4]).picture()
    heights = [[bar.get_height() for bar in panel.patches] for panel in figure.axes]
    assert heights == [[1, 1, 2, 1], [2, 3]]
    assert [panel.get_title() for panel in figure.axes] == ["broken", "fixed"]
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["✓ paid once: 6", "≠ paid twice: 3", "† paid never: 1"]


def test_compare_runs_each_app_at_each_number_of_replicas(tmp_path: Path) -> None:
    failing = "def run(inputs): raise ValueError('no')"
    apps = {"a": write_app(tmp_path, failing, "a"), "b": write_app(tmp_path, ECHO, "b")}
    comparison = compare(apps, replicas=[1, 3], threads=1)
    assert [len(run.replicas) for run in comparison.runs["a"].values()] == [1, 3]
    assert comparison.expect(broken="a", fixed="b")
    with pytest.raises(TypeError, match="apps by name"):
        compare([apps["a"]])  # type: ignore[arg-type]


def test_compare_can_give_each_replica_an_environment_of_its_own(tmp_path: Path) -> None:
    needs_key = "import os\ndef run(inputs): return inputs['company'] + os.environ['A_KEY']"
    with_key, without = {"A_KEY": ""}, {"A_KEY": None}
    comparison = compare(
        {"a": write_app(tmp_path, needs_key)},
        replicas=[1, 2],
        threads=1,
        env=lambda number: [with_key] * (number - 1) + [without],
    )
    by_number = comparison.runs["a"]
    assert [by_number[number].ok > 0 for number in (1, 2)] == [False, True]


def test_a_diff_leaves_out_lines_that_only_moved_sideways(tmp_path: Path) -> None:
    before = write_app(tmp_path, "x = 1\ny = 2\nz = 3", "before")
    after = write_app(tmp_path, "def f():\n    x = 1\n    y = 2\nz = 4", "after")
    changes = [line for line in diff(before, after).lines[2:] if line[0] in "+-"]
    assert changes == ["+ def f():", "- z = 3", "+ z = 4"]
    assert diff(before, before).lines == []
    assert "def f():" in diff(before, after)._repr_html_()


def test_a_traceback_shows_the_apps_and_the_libraries_lines_only(tmp_path: Path) -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/a/b/lib/crewlab/deployment/replica.py", line 1, in _work\n    run(inputs)\n'
        f'  File "{tmp_path}/image/broken.py", line 36, in run\n    crew.kickoff()\n'
        '  File "/v/lib/python3.11/site-packages/crewai/c.py", line 9, in kickoff\n    x\n    ^\n'
        '  File "/usr/lib/python3.11/asyncio/runners.py", line 2, in run\n'
        "RuntimeError: no\n"
    )
    assert shorten(text, tmp_path) == (
        "Traceback (most recent call last):\n"
        '  File "broken.py", line 36, in run\n    crew.kickoff()\n'
        '  File "crewai/c.py", line 9, in kickoff\n    x\n    ^\n'
        '  File "asyncio/runners.py", line 2, in run\n'
        "RuntimeError: no\n"
    )


def test_an_app_is_named_after_its_file(tmp_path: Path) -> None:
    app = write_app(tmp_path, ECHO, "my_app")
    assert (app.name, app.source.strip()[:3]) == ("my_app", "def")
    for name in ("my-app.py", "my_app.txt"):
        (tmp_path / name).write_text("")
        with pytest.raises(ValueError, match="cannot be imported"):
            App.from_file(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "width", "said"),
    [
        ("as it\n  is", 8, "as it is"),
        ("the order book is full", 16, "the order book …"),
        ("the order book is full", 15, "the order …"),
        (f"ValueError: {'x' * 60}", 60, f"ValueError: {'x' * 47}…"),
    ],
)
def test_a_long_text_is_cut_between_words_if_it_can_be(text: str, width: int, said: str) -> None:
    assert cut(text, width) == said
