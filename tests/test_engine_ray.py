"""Ray behind the contract of scale. The real ones need Ray: `make test-ray`."""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from crewlab import Eviction
from crewlab.engines import ray_actors
from crewlab.engines.ray import _refuse_what_is_open
from crewlab.errors import ToldOSError, ToldValueError
from crewlab.services import Services
from tests.hosts import can_fork, with_ray
from tests.processes import MARK, wait_until_empty, wait_until_gone

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.timeout(600)

PLAIN = """
import json
import os
import time
from pathlib import Path

import psutil


def run(inputs):
    say, place = inputs.get("say"), Path(inputs.get("place") or ".")
    if say == "raise":
        raise KeyError("no such customer")
    if say == "nothing":
        return None
    if say == "crash":
        os.abort()
    if say == "hang at first" and not (place / inputs["company"]).exists():
        (place / inputs["company"]).touch()
        say = "hang"
    while say == "hang":
        time.sleep(1)
    if say == "where":
        return json.dumps({"company": inputs["company"], **whereabouts()})
    return f"Report on {inputs['company']}"


def whereabouts():
    session = [p for p in psutil.process_iter() if os.getsid(p.pid) == os.getsid(0)]
    listening = [
        connection.laddr.ip
        for process in session
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    return {
        "pids": [process.pid for process in session],
        "listening": listening,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
    }
"""


def customers(*said: str, place: object = "") -> list[dict[str, str]]:
    return [
        {"company": f"Company{n}", "say": say, "place": str(place)} for n, say in enumerate(said)
    ]


# --- without Ray --------------------------------------------------------------------------------


@can_fork
def test_a_missing_ray_is_told_in_three_lines_that_say_how_to_install_it(
    make: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ray" else found(name)
    )
    with pytest.raises(ToldValueError, match="ray is not installed here") as told:
        ray_actors(make(PLAIN))
    _what, why, cure = str(told.value).splitlines()
    assert "200 MB" in why
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "ray" in extras["optional-dependencies"]
    assert cure.endswith("uv pip install -e '.[ray]'")


def test_the_courses_environment_does_not_bring_it() -> None:
    locks = {name: (ROOT / name).read_text("utf-8") for name in ("requirements.lock", BENCH)}
    assert "\nray==" not in locks["requirements.lock"]
    assert "\nray==" in locks[BENCH]
    assert "ray==" not in (ROOT / "environment.yml").read_text("utf-8")


BENCH = "requirements-bench.lock"


@pytest.mark.parametrize("address", ["::", "192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7"])
def test_a_server_that_other_machines_can_reach_is_refused(address: str) -> None:
    with pytest.raises(ToldOSError, match="where other machines can reach it") as told:
        _refuse_what_is_open(listening_on("127.0.0.1", address))
    assert len(str(told.value).splitlines()) == 3


def test_a_server_on_the_loopback_interface_is_not() -> None:
    _refuse_what_is_open(listening_on("127.0.0.1", "::1", "::ffff:127.0.0.1"))


def listening_on(*addresses: str) -> Any:
    """Play a process with servers."""
    place = namedtuple("place", "ip port")
    connection = namedtuple("connection", "status laddr")
    found = [connection(psutil.CONN_LISTEN, place(address, 1)) for address in addresses]
    return namedtuple("process", "net_connections")(lambda: found)


@can_fork
def test_a_folder_for_sockets_has_a_short_path_and_goes_with_its_process(tmp_path: Path) -> None:
    far = tmp_path / ("a-long-name-" * 6)
    far.mkdir()
    script = (
        "import os, signal, sys\n"
        "from crewlab.deployment.scratch import short_folder\n"
        "print(short_folder(60), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "TMPDIR": str(far)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == -signal.SIGKILL, out.stderr
    folder = Path(out.stdout.strip())
    assert len(str(folder)) + 60 <= 100
    assert folder.parent == Path("/tmp")  # noqa: S108
    assert wait_until_empty(far, seconds=60) == []
    assert not folder.exists()


# --- with Ray -----------------------------------------------------------------------------------


@with_ray
def test_each_request_has_its_one_outcome_and_nothing_is_reachable_or_left(
    make: Callable[[str], Path], services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray.example:6379")  # somebody's cluster: not for us
    requests = customers("hello", "raise", "nothing", "hello", "where")
    run = ray_actors(
        make(PLAIN), replicas=2, threads=2, requests=requests, timeout=120, env={"REGION": "EU"}
    )
    assert [record.kind for record in run.requests] == ["ok", "error", "error", "ok", "ok"]
    assert "KeyError" in (run.requests[1].error or "")
    assert "no such customer" in (run.requests[1].traceback or "")
    assert "return str" in (run.requests[2].error or "")
    assert all(replica.ready and replica.status == "Running" for replica in run.replicas)
    assert all(replica.peak_memory > 0 for replica in run.replicas)
    assert {record.replica for record in run.requests} == {"app-0", "app-1"}
    assert {record.thread for record in run.requests} <= {0, 1}
    assert str(make(PLAIN).parent) not in str(run)

    saw = json.loads(run.requests[4].answer or "")
    assert saw["listening"], "Ray's servers are seen"
    addresses = {ipaddress.ip_address(text) for text in saw["listening"]}
    assert {getattr(a, "ipv4_mapped", None) or a for a in addresses} == {
        ipaddress.ip_address("127.0.0.1")
    }
    environment = saw["environment"]
    assert environment["REGION"] == "EU"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    for name, value in services.environment.items():
        assert environment[name] == value, name
    assert len(saw["pids"]) > 5, "the driver, Ray's own processes, and the actors"
    assert not any(is_alive(pid) for pid in saw["pids"])
    for name in ("HOME", "TMPDIR"):
        assert not Path(environment[name]).exists()
    assert not Path(saw["folder"]).exists()


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@with_ray
def test_an_app_that_raises_at_import_is_told(
    make: Callable[[str], Path], services: Services
) -> None:
    run = ray_actors(make("raise RuntimeError('closed')"), requests=2, timeout=120)
    run.expect(lost="all", error="RuntimeError: closed")
    assert [replica.status for replica in run.replicas] == ["Error", "Error"]


@with_ray
def test_a_killed_actor_and_a_crashed_one_take_their_requests_along(
    make: Callable[[str], Path], services: Services, tmp_path: Path
) -> None:
    requests = customers("hang at first", "crash", "hello", "hello", place=tmp_path)
    in_mid_job = Eviction(0, when=(tmp_path / "Company0").exists)
    run = ray_actors(make(PLAIN), threads=1, requests=requests, evict=[in_mid_job], timeout=300)
    assert [record.kind for record in run.requests] == ["lost", "lost", "ok", "ok"]
    assert [record.replica for record in run.requests][:2] == ["app-0", "app-1"]
    assert "ActorUnavailableError" in str(run.requests[0].error)
    assert sum(replica.replaced for replica in run.replicas) >= 1, "one has answered the others"


@with_ray
def test_a_killed_actors_request_is_given_to_its_successor_where_that_is_asked(
    make: Callable[[str], Path], services: Services, tmp_path: Path
) -> None:
    requests = customers("hang at first", "hang at first", place=tmp_path)
    evict = [Eviction(n, when=(tmp_path / f"Company{n}").exists) for n in (0, 1)]
    run = ray_actors(
        make(PLAIN), threads=1, requests=requests, evict=evict, redeliver=1, timeout=300
    )
    run.expect(ok="all")
    assert [record.attempts for record in run.requests] == [2, 2]
    assert [replica.replaced for replica in run.replicas] == [1, 1]


@with_ray
def test_what_is_not_answered_in_time_is_a_timeout(
    make: Callable[[str], Path], services: Services
) -> None:
    ray_actors(make(PLAIN), requests=customers("hang", "hang"), timeout=1).expect(timeout="all")


@with_ray
def test_a_kernel_killed_in_the_middle_leaves_no_process_and_no_folder(
    make: Callable[[str], Path], services: Services, tmp_path: Path
) -> None:
    mark, temporary = f"ray-{os.getpid()}", tmp_path / "t"
    temporary.mkdir()
    requests = customers("hang at first", place=tmp_path)
    script = (
        "from crewlab.engines import ray_actors\n"
        f"ray_actors({str(make(PLAIN))!r}, replicas=1, requests={requests!r}, timeout=3000)\n"
    )
    environment = {**os.environ, MARK: mark, "TMPDIR": str(temporary), "CREWLAB_PRELOAD": "off"}
    kernel = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        while not (tmp_path / "Company0").exists():
            with pytest.raises(subprocess.TimeoutExpired):
                kernel.wait(0.1)
        session = next(
            Path(argument.partition("=")[2])
            for process in psutil.process_iter(["cmdline", "environ"])
            if (process.info["environ"] or {}).get(MARK) == mark
            for argument in process.info["cmdline"]
            if argument.startswith("--temp-dir=")
        )
        assert session.is_dir()
    finally:
        kernel.kill()
        kernel.wait()
    assert wait_until_gone(mark, seconds=60) == []
    assert wait_until_empty(temporary, seconds=60) == []
    assert not session.exists()
