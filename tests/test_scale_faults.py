"""Replicas that die, stop or never start: every request still has exactly one outcome."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from crewlab import Run, scale
from tests.apps import ECHO, write_app

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")

UNLUCKY = """
    import ctypes, os, signal, time

    def run(inputs):
        if inputs["company"] == "Aldermoor":
            time.sleep(0.2)
            {fate}
        time.sleep(0.5)
        return inputs["company"]
"""


def deploy_unlucky(folder: Path, fate: str, **options: object) -> Run:
    app = write_app(folder, UNLUCKY.format(fate=fate))
    return scale(app, replicas=2, threads=2, requests=8, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fate", "exit_code", "status"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "Error"),
        ("ctypes.string_at(0)", 139, "Error"),
        ("os._exit(3)", 3, "Error"),
        ("os._exit(0)", 0, "Completed"),
        ("os.abort()", 134, "Error"),
    ],
)
def test_a_replica_that_dies_takes_only_its_own_requests_with_it(
    tmp_path: Path, fate: str, exit_code: int, status: str
) -> None:
    run = deploy_unlucky(tmp_path, fate)
    dead, alive = run.replicas
    assert (dead.exit_code, dead.status, dead.ready) == (exit_code, status, False)
    assert (alive.exit_code, alive.status, alive.ready) == (None, "Running", True)
    assert run.lost == 2  # the one that killed it, and its neighbour on the other thread
    assert run.ok == 6
    assert {r.replica for r in run.requests if r.kind == "lost"} == {dead.name}
    assert all("while it had this request" in (r.error or "") for r in run.requests[:1])


def test_a_stopped_replica_answers_nothing_and_is_no_hang(tmp_path: Path) -> None:
    run = deploy_unlucky(tmp_path, "os.kill(os.getpid(), signal.SIGSTOP)", timeout=2.5)
    assert (run.timeout, run.ok) == (2, 6)
    assert run.seconds < 5


def test_a_request_that_never_returns_is_a_timeout(tmp_path: Path) -> None:
    run = deploy_unlucky(tmp_path, "time.sleep(3600)", timeout=2.5)
    assert (run.timeout, run.ok) == (1, 7)
    assert run.requests[0].error == "no answer within 2.5 s"


def test_code_that_holds_the_interpreter_lock_for_ever_is_a_timeout_too(tmp_path: Path) -> None:
    fate = "ctypes.PyDLL(None).pause()"
    run = deploy_unlucky(tmp_path, fate, timeout=2.5)
    assert (run.timeout, run.ok) == (2, 6)


def test_a_dead_replica_is_restarted_and_serves_what_is_left(tmp_path: Path) -> None:
    app = write_app(tmp_path, UNLUCKY.format(fate="os._exit(7)"))
    run = scale(app, replicas=1, threads=1, requests=4, restarts=2)
    assert [record.kind for record in run.requests] == ["lost", "ok", "ok", "ok"]
    assert (run.replicas[0].restarts, run.replicas[0].status) == (1, "Running")


def test_a_replica_that_ends_at_every_start_is_in_crash_loop_back_off(tmp_path: Path) -> None:
    app = write_app(tmp_path, "print('starting')\nimport os\nos._exit(9)")
    run = scale(app, replicas=1, requests=2, restarts=3)
    replica = run.replicas[0]
    assert (replica.status, replica.restarts, replica.exit_code) == ("CrashLoopBackOff", 3, 9)
    assert replica.log.count("starting") == 4
    assert run.lost == 2
    assert run.errors == {"ended at start-up with exit code 9": 1}


def test_a_replica_that_is_being_started_again_when_the_run_ends_is_in_crash_loop_back_off(
    tmp_path: Path,
) -> None:
    source = """
        import os, time
        from pathlib import Path
        once, twice = Path(os.environ["MARKS"], "once"), Path(os.environ["MARKS"], "twice")
        def run(inputs):
            while not twice.exists():
                time.sleep(0.01)
            return inputs["company"]
        if os.environ.get("BROKEN"):
            if not once.exists():
                once.touch()
                os._exit(3)
            twice.touch()
            time.sleep(60)
    """
    env = {"MARKS": str(tmp_path)}
    run = scale(
        write_app(tmp_path, source),
        replicas=2,
        threads=1,
        requests=1,
        restarts=5,
        env=[env, env | {"BROKEN": "yes"}],
    )
    run.expect(ok="all")
    assert (run.replicas[1].status, run.replicas[1].ready) == ("CrashLoopBackOff", False)


def test_a_replica_above_its_memory_limit_is_killed_by_the_supervisor(tmp_path: Path) -> None:
    fate = "hoard = bytearray(400 * 2**20); time.sleep(30)"
    run = deploy_unlucky(tmp_path, fate, memory_limit=500)
    dead = run.replicas[0]
    assert (dead.status, dead.exit_code) == ("OOMKilled", 137)
    assert dead.peak_memory > 500
    assert "memory above its limit of 500 MiB" in dead.events[0]
    assert (run.lost, run.ok) == (2, 6)


@pytest.mark.parametrize(
    ("body", "exit_code"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import ctypes\nctypes.string_at(0)", 139),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", 137),
        ("import time\ntime.sleep(3600)", 137),
        ("hoard = bytearray(700 * 2**20)\nimport time\ntime.sleep(3600)", 137),
    ],
)
@pytest.mark.parametrize("start_method", ["forkserver", "fork"])
def test_a_replica_that_fails_to_start_is_ended_by_its_deadlines(
    tmp_path: Path, body: str, exit_code: int, start_method: str
) -> None:
    run = scale(
        write_app(tmp_path, body),
        replicas=1,
        requests=2,
        startup_timeout=2,
        memory_limit=900,
        start_method=start_method,  # type: ignore[arg-type]
    )
    assert run.lost == 2
    assert run.replicas[0].exit_code == exit_code
    assert run.replicas[0].error == f"ended at start-up with exit code {exit_code}"


def test_the_healthy_replicas_serve_while_another_cannot_start(tmp_path: Path) -> None:
    body = ECHO.replace(
        "def run", "import os\n    if not os.environ['KEY']: os._exit(1)\n    def run"
    )
    run = scale(
        write_app(tmp_path, body), replicas=2, requests=6, env=[{"KEY": "set"}, {"KEY": ""}]
    )
    assert run.ok == 6
    assert [replica.status for replica in run.replicas] == ["Running", "Error"]


@pytest.mark.parametrize("start_method", ["forkserver", "fork", "spawn"])
def test_a_process_that_the_app_started_ends_with_its_replica(
    tmp_path: Path, start_method: str
) -> None:
    import psutil

    body = """
        import subprocess

        def run(inputs):
            child = subprocess.Popen(["sleep", "600"])
            return f"{inputs['company']} {child.pid}"
    """
    app = write_app(tmp_path, body)
    run = scale(app, replicas=1, threads=1, requests=2, start_method=start_method)  # type: ignore[arg-type]
    assert run.ok == 2
    children = [int((record.answer or "").split()[1]) for record in run.requests]
    psutil.wait_procs([psutil.Process(pid) for pid in children if psutil.pid_exists(pid)], 3)
    assert not [pid for pid in children if psutil.pid_exists(pid)]
