"""Real engines: the same requests in, the same run out, every job accounted for, no remains."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import crewai
import psutil
import pytest

from crewlab import Eviction, Run
from crewlab.deployment import preload
from crewlab.deployment.scratch import scratch_folder
from crewlab.engines import brokers, celery, gunicorn, host, redis_client, servers, uvicorn
from crewlab.errors import ToldOSError, ToldValueError
from crewlab.services import Services
from tests.hosts import can_fork
from tests.processes import using
from tests.services_tools import become_true
from tests.whole import some, whole

pytestmark = [
    can_fork,
    pytest.mark.timeout(600),
]

PLAIN = """
import os


def run(inputs):
    if inputs.get("say") == "exit":
        os._exit(3)
    if inputs.get("say") == "fill up":
        import redis

        redis.Redis.from_url(os.environ["REDIS_URL"]).setrange("filler", 32_000_000, "x")
    if inputs.get("say") == "nothing":
        return None
    if inputs.get("say") == "raise":
        raise KeyError("no such customer")
    if inputs.get("say") == "an object":
        return object()
    if inputs.get("say") == "a lot":
        return inputs["company"] + 12_000_000 * "x"
    return f"Report on {inputs['company']} by {os.getpid()}"
"""
ASKING = """
from crewai import LLM


def run(inputs):
    return LLM(model="gpt-4o-mini").call(f"Write about {inputs['company']}.")
"""
QUICK = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "broker_transport_options": {
        "visibility_timeout": 5,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
}
ENGINES: dict[str, Callable[..., Run]] = {
    "gunicorn": gunicorn,
    "uvicorn": lambda app, **options: uvicorn(app, **{**options, "replicas": 1}),
    "celery threads": lambda app, **options: celery(app, pool="threads", **options),
    "celery prefork": lambda app, **options: celery(
        app, pool="prefork", **{k: v for k, v in options.items() if k != "threads"}
    ),
}


# Debian's redis-server beside the embedded one: the tests that depend on the broker run on both.
SECOND = pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server here")
BOTH = ["valkey-server", pytest.param("redis-server", marks=SECOND)]
SERVERS = ["valkey-server", pytest.param("redis-server", marks=[SECOND, whole])]
on_each_broker = pytest.mark.parametrize("broker", SERVERS, indirect=True)


@pytest.fixture(scope="module", autouse=True)
def scratch(services: Services) -> Path:
    """Have the fork server, which stays, before the first test looks what it leaves behind."""
    preload()
    return scratch_folder()


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(scratch: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare processes and files before and after each test; with a process goes its port."""
    if "broker" in request.fixturenames:  # it stays for the tests after
        request.getfixturevalue("broker")
    processes, files = using(scratch), names_in(scratch)
    yield
    assert become_true(lambda: using(scratch) <= processes), using(scratch) - processes
    assert names_in(scratch) == files


def names_in(folder: Path) -> set[str]:
    """Name what is there but for the fork server's folder, which comes late and stays."""
    names = {path.name for path in [*folder.iterdir(), *(folder / "pids").iterdir()]}
    return names - {"fork-server"}


@pytest.fixture(autouse=True)
def _calm(services: Services) -> None:
    services.model.configure()
    services.model.reset()


def run_with(name: str, app: Path, broker: Any, **options: Any) -> Run:
    if name.startswith("celery"):
        options["broker"] = broker
    return ENGINES[name](app, **options)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def customers(*said: str) -> list[dict[str, str]]:
    return [{"company": f"Company{n}", "say": say} for n, say in enumerate(said)]


@pytest.mark.parametrize("name", ENGINES)
def test_each_engine_gives_each_request_its_one_outcome(
    make: Callable[[str], Path], broker: Any, name: str
) -> None:
    requests = customers("hello", "raise", "nothing", "hello", "hello")
    run = run_with(name, make(PLAIN), broker, replicas=2, threads=2, requests=requests)
    assert [record.kind for record in run.requests] == ["ok", "error", "error", "ok", "ok"]
    assert "KeyError" in (run.requests[1].error or "")
    assert "no such customer" in (run.requests[1].traceback or "")
    assert "return str" in (run.requests[2].error or "")
    assert all(replica.ready and replica.status == "Running" for replica in run.replicas)
    assert all(replica.peak_memory > 0 for replica in run.replicas)
    assert str(make(PLAIN).parent) not in str(run)
    pids = {int((r.answer or "").split()[-1]) for r in run.requests if r.kind == "ok"}
    assert not any(is_alive(pid) for pid in pids), "no worker is left"


@pytest.mark.parametrize("name", ENGINES)
def test_an_app_that_raises_at_import_is_told(
    make: Callable[[str], Path], broker: Any, name: str
) -> None:
    app = make("raise RuntimeError('closed')")
    run = run_with(name, app, broker, replicas=2, threads=2, requests=2)
    run.expect(lost="all", error="RuntimeError: closed")


FAILS_AND_THEN_ITS_LOG_FAILS = """
import io
import logging

stream = io.StringIO()
stream.close()
logging.getLogger("gunicorn.error").addHandler(logging.StreamHandler(stream))
raise RuntimeError("closed")
"""


def test_the_apps_error_is_told_and_not_a_later_one_of_the_servers(
    make: Callable[[str], Path],
) -> None:
    """Seen once: workers that failed together ended gunicorn with a traceback of its own."""
    run = gunicorn(make(FAILS_AND_THEN_ITS_LOG_FAILS), replicas=2, requests=2)
    run.expect(lost="all", error="RuntimeError: closed")
    log = run.replicas[0].log
    assert log.index("RuntimeError: closed") < log.rindex("ValueError: I/O operation")
    assert "RuntimeError: closed" in (run.replicas[0].traceback or "")


@on_each_broker
def test_a_killed_child_takes_its_job_with_it_where_the_job_was_acknowledged_early(
    make: Callable[[str], Path], broker: Any, services: Services
) -> None:
    run = _killed(make(ASKING), broker, services, "prefork", {"worker_prefetch_multiplier": 1})
    run.expect(ok=2, lost=2)
    assert "WorkerLostError" in (run.requests[0].error or run.requests[1].error or "")


def test_acknowledging_late_alone_does_not_help_against_a_killed_child(
    make: Callable[[str], Path], broker: Any, services: Services
) -> None:
    settings = {"worker_prefetch_multiplier": 1, "task_acks_late": True}
    _killed(make(ASKING), broker, services, "prefork", settings).expect(ok=2, lost=2)


@on_each_broker
@pytest.mark.parametrize("pool", some(["prefork", "threads"], "prefork"))
def test_no_job_is_lost_where_it_is_acknowledged_late_and_given_back(
    make: Callable[[str], Path], broker: Any, services: Services, pool: str
) -> None:
    run = _killed(make(ASKING), broker, services, pool, QUICK)
    run.expect(ok="all")
    assert max(record.attempts for record in run.requests) >= 2, "more where all is slow"
    assert sum(replica.replaced for replica in run.replicas) == 2


@on_each_broker
def test_a_killed_machine_loses_what_was_acknowledged_early(
    make: Callable[[str], Path], broker: Any, services: Services
) -> None:
    settings = {**QUICK, "task_acks_late": False}
    run = _killed(make(ASKING), broker, services, "threads", settings)
    assert run.lost == 2
    assert "the queue had forgotten the job" in str(run.requests[0].error or run.requests[1].error)


def _killed(app: Path, broker: Any, services: Services, pool: Any, settings: Any) -> Run:
    """Kill both workers as soon as each has asked the model, which answers neither."""
    services.model.configure(hang=range(1, 3))
    in_mid_job = [Eviction(n, when=lambda: services.model.stats().total >= 2) for n in (0, 1)]
    return celery(
        app,
        pool=pool,
        threads=1,
        requests=4,
        broker=broker,
        settings=settings,
        evict=in_mid_job,
        timeout=120,
    )


def test_an_app_with_a_celery_of_its_own_keeps_its_settings(
    make: Callable[[str], Path], broker: Any
) -> None:
    app = make(
        "import os\n"
        "from celery import Celery\n"
        'queue = Celery("mine", broker=os.environ["REDIS_URL"])\n'
        "queue.conf.task_acks_late = True\n"
        '@queue.task(name="mine.report", bind=True)\n'
        "def run(self, inputs):\n"
        '    late = self.app.conf.task_acks_late and self.name == "mine.report"\n'
        "    return f\"{inputs['company']}: {late}\"\n"
    )
    run = celery(app, requests=2, broker=broker)
    run.expect(ok="all")
    assert all((record.answer or "").endswith(": True") for record in run.requests)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_result_that_is_no_plain_data_is_told_by_celery(
    make: Callable[[str], Path], broker: Any, pool: Any
) -> None:
    run = celery(make(PLAIN), pool=pool, requests=customers("hello", "an object"), broker=broker)
    run.expect(ok=1, errors=1, error="not JSON serializable")


def test_a_worker_that_ends_by_itself_is_told_and_so_is_each_of_its_jobs(
    make: Callable[[str], Path], broker: Any
) -> None:
    load: Any = {"replicas": 1, "threads": 1, "requests": customers("exit", "hello", "hello")}
    run = celery(make(PLAIN), pool="threads", broker=broker, **load, timeout=300)
    run.expect(lost="all", error="it ended with exit code 3")
    assert [record.status for record in run.replicas] == ["Error"]
    # Which of the two the first one is depends on whether its acknowledgement was out already.
    ends = ("its worker is gone, and the queue had forgotten", "no replica is left to take it; it")
    assert all((record.error or "").startswith(ends) for record in run.requests)


@pytest.mark.parametrize("name", ["gunicorn", "celery prefork"])
def test_a_worker_of_another_crewai_is_told(
    make: Callable[[str], Path],
    broker: Any,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after an upgrade beside a running notebook: the fork server has the old one."""
    upgraded = tmp_path / "crewai-99.0.dist-info"
    upgraded.mkdir()
    (upgraded / "METADATA").write_text("Metadata-Version: 2.1\nName: crewai\nVersion: 99.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    run = run_with(name, make(PLAIN), broker, replicas=1, threads=1, requests=2)
    run.expect(lost="all")
    says = f"a worker runs CrewAI {crewai.__version__}, and 99.0 is installed here"
    assert all(says in (record.error or "") for record in run.requests)


@whole
def test_a_worker_of_somebody_else_gets_no_job_of_the_run(
    make: Callable[[str], Path], broker: Any, tmp_path: Path
) -> None:
    """An old image on the same broker, which listens to a queue and a task of the same names."""
    (tmp_path / "old_image.py").write_text(
        "from celery import Celery\n"
        f"queue = Celery('old', broker={broker.url!r}, backend={broker.url!r})\n"
        "queue.conf.task_default_queue = 'jobs'\n"
        "@queue.task(name='crewlab.run')\n"
        "def run(inputs): return 'an old answer'\n"
    )
    command = [sys.executable, "-m", "celery", "-A", "old_image", "worker", "--pool", "solo"]
    command += ["--loglevel", "INFO"]
    with (tmp_path / "log").open("wb") as log:
        old = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)
    try:
        said = tmp_path / "log"
        assert become_true(lambda: "ready." in said.read_text(encoding="utf-8"), 120)
        celery(make(PLAIN), replicas=1, requests=6, broker=broker).expect(ok="all")
        assert "received" not in said.read_text(encoding="utf-8")
    finally:
        old.kill()
        old.wait()
        broker.client.flushall()


@pytest.mark.parametrize("broker", BOTH, indirect=True)
def test_a_run_leaves_nothing_in_the_broker(make: Callable[[str], Path], broker: Any) -> None:
    broker.client.set("somebody", "else's")
    celery(make(PLAIN), requests=2, broker=broker).expect(ok="all")
    assert broker.client.keys("*") == ["somebody"]
    broker.client.delete("somebody")


# --- the broker -------------------------------------------------------------------------------


@pytest.mark.parametrize("server", BOTH)
def test_it_listens_on_this_machine_only_and_is_gone_when_it_is_stopped(
    services: Services, server: str
) -> None:
    with brokers.temporary(server=server) as running:
        pid = int(running.client.info("server")["process_id"])
        listening = [c.laddr.ip for c in psutil.Process(pid).net_connections() if c.raddr == ()]
        assert listening == ["127.0.0.1"]
    assert not psutil.pid_exists(pid)
    assert not running.answers()


def test_the_one_of_this_process_comes_back_at_its_address(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setattr(brokers, "_ours", {})
    first = brokers.broker()
    monkeypatch.setenv("REDIS_URL", first.url)  # as chapter 13 does, for its apps
    assert brokers.broker() is first
    first.kill()
    try:
        second = brokers.broker()
        assert second.url == first.url and second.answers()
        assert brokers.broker() is second
    finally:
        for one in brokers._ours.values():
            one.stop()


def test_a_broker_of_yours_is_used_and_not_killed(
    broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", broker.url)
    mine = brokers.broker()
    assert mine.url == broker.url
    with pytest.raises(ToldValueError, match="is yours"):
        mine.kill()


WRONG: dict[str, tuple[type[Exception], str]] = {
    "redis://user:secret@127.0.0.1:1/0": (ToldOSError, "No broker answers at redis://127.0"),
    "redis://127.0.0.1:1/0?password=secret": (ToldOSError, "No broker answers at redis://127.0"),
    "redis://user:secret@no-such-host.invalid/0": (ToldOSError, "No broker answers at redis://no-"),
    "redis://user:secret@127.0.0.1:{port}/0": (ToldOSError, "wants another password"),
    "redis://127.0.0.1:{port}/99": (ToldOSError, "DB index is out of range"),
    "redis://127.0.0.1:{web}/0": (ToldOSError, "No broker answers"),
    "http://user:secret@127.0.0.1:1": (ToldValueError, "REDIS_URL is no address of a Redis"),
    "redis://user:secret@127.0.0.1:often/0": (ToldValueError, "Port could not be cast"),
    "127.0.0.1:{port}": (ToldValueError, "REDIS_URL is no address of a Redis"),
}


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_told_without_its_password(
    url: str, broker: Any, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, says = WRONG[url]
    web = urlsplit(services.environment["OPENAI_BASE_URL"]).port
    monkeypatch.setenv("REDIS_URL", url.format(port=urlsplit(broker.url).port, web=web))
    with pytest.raises(error, match=says) as told:
        brokers.broker()
    assert "secret" not in str(told.value)
    assert len(str(told.value).splitlines()) <= 3


def test_a_port_that_is_open_and_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_client, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        with pytest.raises(ToldOSError, match=r"No broker answers at .* \(TimeoutError"):
            brokers.broker()


def test_no_broker_on_this_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_embedded", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(ToldValueError, match="There is no broker on this machine"):
        brokers.start()
    with pytest.raises(ToldValueError, match="is unknown"):
        brokers.start(server="rabbitmq")


def test_a_broker_that_is_gone_before_the_run_is_told(make: Callable[[str], Path]) -> None:
    with brokers.temporary() as running:
        running.kill()
        with pytest.raises(ToldOSError, match="No job can be sent: the broker does not answer"):
            celery(make(PLAIN), requests=2, broker=running)


@pytest.mark.parametrize("server", BOTH)
def test_a_broker_that_is_full_before_the_run_is_told(
    make: Callable[[str], Path], server: str
) -> None:
    with brokers.temporary(server=server, memory="12mb") as full:
        full.client.setrange("filler", 32_000_000, "x")
        with pytest.raises(ToldOSError, match=r"takes nothing in \(OutOfMemoryError"):
            celery(make(PLAIN), requests=2, broker=full)


@pytest.mark.parametrize("server", SERVERS)
def test_a_broker_killed_in_mid_run_leaves_no_job_unaccounted_for(
    make: Callable[[str], Path], services: Services, server: str
) -> None:
    services.model.configure(hang=range(1, 100))
    with brokers.temporary(server=server) as running:

        def pull_the_plug() -> None:
            become_true(lambda: services.model.stats().total >= 2, 300)
            running.kill()

        plug = threading.Thread(target=pull_the_plug)
        plug.start()
        run = celery(make(ASKING), pool="threads", requests=4, broker=running, timeout=300)
        plug.join()
    run.expect(lost="all")
    assert run.requests[0].error == "the broker is gone, and the queue with it"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("server", SERVERS)
def test_what_does_not_fit_into_the_broker_fails_alone(
    make: Callable[[str], Path], server: str, pool: Any
) -> None:
    requests = [*customers("hello", "a lot"), {"company": "Company2", "text": 12_000_000 * "x"}]

    def named(inputs: Any, answer: str) -> bool:
        return inputs["company"] in answer

    with brokers.temporary(server=server, memory="10mb") as small:
        run = celery(make(PLAIN), pool=pool, requests=requests, broker=small, judge=named)
    assert [record.kind for record in run.requests] == ["ok", "error", "error"]
    assert "OutOfMemoryError" in (run.requests[1].error or "")
    assert run.requests[2].error == (
        "the queue did not take it; "
        "OperationalError: command not allowed when used memory > 'maxmemory'."
    )


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_broker_that_fills_up_in_mid_run_is_named_as_the_cause(
    make: Callable[[str], Path], server: str, pool: Any
) -> None:
    """Celery refuses nothing and retries nothing here: only its log says where an answer went."""
    requests = customers("hello", "fill up", "hello", "hello")
    with brokers.temporary(server=server, memory="12mb") as full:
        run = celery(
            make(PLAIN),
            pool=pool,
            replicas=1,
            threads=1,
            requests=requests,
            settings={"worker_prefetch_multiplier": 1},
            broker=full,
            timeout=60,
        )
    assert run.requests[0].kind == "ok"
    for record in run.requests[1:]:  # which of them it is depends on when the worker ends
        assert record.kind in ("error", "lost", "timeout")
        assert "command not allowed when used memory > 'maxmemory'" in (record.error or "")


@whole
@pytest.mark.parametrize("server", SERVERS)
def test_jobs_acknowledged_late_wait_in_a_full_broker_and_say_so(
    make: Callable[[str], Path], server: str
) -> None:
    requests = customers("hello", "fill up", "hello")
    with brokers.temporary(server=server, memory="12mb") as full:
        run = celery(
            make(PLAIN),
            pool="threads",
            replicas=1,
            threads=1,
            requests=requests,
            settings={"worker_prefetch_multiplier": 1, "task_acks_late": True},
            broker=full,
            timeout=30,
        )
    assert [record.kind for record in run.requests[:2]] == ["ok", "timeout"]
    assert "its answer did not get into the broker; OutOfMemory" in (run.requests[1].error or "")
    assert run.requests[2].kind in ("timeout", "error"), "error: it was full before this was sent"
    assert "command not allowed when used memory > 'maxmemory'" in (run.requests[2].error or "")


# --- what cannot be -----------------------------------------------------------------------------


def test_a_missing_engine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ToldValueError, match="celery is not installed here"):
        host.require("celery")


def test_a_system_without_fork_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(ToldValueError, match="needs Linux or macOS"):
        host.require("gunicorn")


def test_of_the_workers_that_were_there_those_that_live_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        ended.wait()
    master = host.Host.__new__(host.Host)  # no process of its own: only what it is told of
    master.error = None
    monkeypatch.setattr(master, "pids", lambda: [ended.pid, os.getpid()])
    monkeypatch.setattr(master, "log", lambda: "")
    assert [record.status for record in master.records(["app-0", "app-1"])] == ["Running", "Error"]


def test_options_that_cannot_be_are_told(make: Callable[[str], Path]) -> None:
    with pytest.raises(ToldValueError, match="one job at a time"):
        celery(make(PLAIN), pool="prefork", threads=4)
    with pytest.raises(ToldValueError, match="its children are forked from one"):
        celery(make(PLAIN), pool="prefork", env=[{}, {}])
    with pytest.raises(ToldValueError, match="is unknown here"):
        celery(make(PLAIN), pool="gevent")  # type: ignore[arg-type]


@pytest.mark.whole  # two spawned workers
def test_several_workers_of_uvicorn(make: Callable[[str], Path]) -> None:
    run = uvicorn(make(PLAIN), replicas=2, threads=2, requests=4)
    run.expect(ok="all")
