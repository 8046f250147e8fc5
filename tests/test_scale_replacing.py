"""Replicas that are evicted or recycled while they work, and what becomes of their requests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crewlab import App, Eviction, scale
from crewlab.results.records import Event
from tests.apps import ECHO, write_app

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is POSIX's")

# Requests wait until the test says so, by a file that every replica can see.
WAITING = """
    import time
    from pathlib import Path

    def run(inputs):
        while not Path({gate!r}).exists():
            time.sleep(0.01)
        return f"Report on {{inputs['company']}}."
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def waiting(tmp_path: Path, gate: Path) -> App:
    return write_app(tmp_path, WAITING.format(gate=str(gate)))


def opens_when_one_has_ended(gate: Path) -> Callable[[Event], None]:
    """Let the requests go on once a replica has ended: it had not answered any of its own."""
    return lambda event: gate.touch() if event.kind == "ended" else None


def test_a_replica_that_is_killed_at_work_loses_what_it_had(waiting: App, gate: Path) -> None:
    kill, let_go = Eviction(0, after=2), opens_when_one_has_ended(gate)
    run = scale(waiting, replicas=2, threads=2, requests=8, evict=[kill], on_event=let_go)
    assert (run.ok, run.lost) == (6, 2), run
    killed = run.replicas[0]
    assert (killed.restarts, killed.replaced) == (0, 1)
    assert any("exit code 137 (SIGKILL)" in event for event in killed.events)
    assert [record.replica for record in run.requests if record.kind == "lost"] == ["app-0"] * 2


def test_an_acknowledgement_after_the_work_gives_it_to_another_replica(
    waiting: App, gate: Path
) -> None:
    kill, let_go = Eviction(0, after=2), opens_when_one_has_ended(gate)
    load = {"replicas": 2, "threads": 2, "requests": 8}
    run = scale(waiting, **load, evict=[kill], on_event=let_go, redeliver=1)
    run.expect(ok="all")
    assert sorted(record.attempts for record in run.requests) == [1] * 6 + [2] * 2


def test_a_request_is_redelivered_only_so_often(tmp_path: Path) -> None:
    app = write_app(tmp_path, "import os\ndef run(inputs):\n    os._exit(7)\n")
    run = scale(app, replicas=1, threads=1, requests=1, restarts=5, redeliver=2)
    run.expect(lost="all")
    assert run.requests[0].attempts == 3
    assert "exit code 7" in (run.requests[0].error or "")


@pytest.mark.parametrize("start_method", ["forkserver", "fork"])
def test_a_draining_replica_answers_what_it_has_and_takes_nothing_more(
    waiting: App, gate: Path, start_method: str
) -> None:
    run = scale(
        waiting,
        replicas=1,
        threads=2,
        requests=4,
        evict=[Eviction(0, after=2, grace=60)],
        drain=True,
        start_method=start_method,  # type: ignore[arg-type]
        on_event=lambda event: gate.touch() if event.request == 1 else None,
    )
    run.expect(ok="all", lost="none")
    [replica] = run.replicas
    assert replica.replaced == 1
    assert any("ended with exit code 0" in event for event in replica.events)


NOT_HEARD_BY_THE_MAIN_THREAD = """
    import signal
    import time
    from pathlib import Path

    signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})

    def run(inputs):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {{signal.SIGTERM}})
        while not Path({gate!r}).exists():
            time.sleep(0.01)
        return f"Report on {{inputs['company']}}."
"""


def test_a_replica_drains_although_its_main_thread_sleeps_through_sigterm(
    tmp_path: Path, gate: Path
) -> None:
    """So it is as well with a SIGTERM that comes just before the main thread goes to sleep."""
    app = write_app(tmp_path, NOT_HEARD_BY_THE_MAIN_THREAD.format(gate=str(gate)))
    run = scale(
        app,
        replicas=1,
        threads=1,
        requests=2,
        evict=[Eviction(0, after=1, grace=60)],
        drain=True,
        on_event=lambda event: gate.touch() if event.request == 0 else None,
    )
    run.expect(ok="all", lost="none")
    assert any("ended with exit code 0" in event for event in run.replicas[0].events)


def test_without_draining_sigterm_ends_a_replica_at_once(waiting: App, gate: Path) -> None:
    run = scale(
        waiting,
        replicas=1,
        threads=2,
        requests=2,
        evict=[Eviction(0, after=2, grace=60)],
    )
    run.expect(lost="all")
    assert any("exit code 143 (SIGTERM)" in event for event in run.replicas[0].events)


def test_a_replica_that_ignores_sigterm_is_killed_after_its_grace_period(tmp_path: Path) -> None:
    stubborn = write_app(
        tmp_path,
        """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

        def run(inputs):
            time.sleep(60)
        """,
    )
    run = scale(
        stubborn, replicas=1, threads=1, requests=1, evict=[Eviction(0, after=1, grace=0.2)]
    )
    run.expect(lost="all")
    events = " ".join(run.replicas[0].events)
    assert "its grace period is over" in events
    assert "exit code 137 (SIGKILL)" in events


def test_recycled_replicas_lose_no_request(tmp_path: Path) -> None:
    run = scale(write_app(tmp_path, ECHO), replicas=2, threads=2, requests=20, recycle_after=4)
    run.expect(ok="all")
    assert sum(replica.replaced for replica in run.replicas) >= 3
    assert [replica.restarts for replica in run.replicas] == [0, 0]
    assert "REPLACED" in str(run)
    assert all(record.attempts == 1 for record in run.requests)


def test_a_replica_shows_what_it_held_while_it_served(tmp_path: Path) -> None:
    app = write_app(
        tmp_path,
        """
        import time
        kept = []

        def run(inputs):
            kept.append(open(__file__))
            time.sleep(0.3)
            return inputs["company"]
        """,
    )
    run = scale(app, replicas=1, threads=1, requests=5)
    samples = run.replicas[0].samples
    assert len(samples) >= 3
    assert samples[-1].files > samples[0].files
    assert all(sample.memory > 1 and sample.threads >= 2 for sample in samples)
    assert [sample.seconds for sample in samples] == sorted(sample.seconds for sample in samples)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"evict": [Eviction(4)]}, "There is no replica 4 to evict"),
        ({"evict": [Eviction(0, grace=-1)]}, "grace are seconds"),
        ({"evict": ["0"]}, "evict lists a str"),
        ({"redeliver": -1}, "redeliver=-1"),
        ({"recycle_after": 0}, "recycle_after=0"),
    ],
)
def test_what_cannot_be_is_said_in_words(
    tmp_path: Path, options: dict[str, object], says: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        scale(write_app(tmp_path, ECHO), replicas=2, **options)  # type: ignore[arg-type]
