"""Real engines: the same requests in, the same run out, every job accounted for, no remains."""

from __future__ import annotations

import importlib.util
import multiprocessing
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from crewlab import Eviction, Run
from crewlab.engines import brokers, celery, gunicorn, host, uvicorn
from crewlab.errors import ToldOSError, ToldValueError
from crewlab.services import Services

pytestmark = [
    pytest.mark.skipif(
        "forkserver" not in multiprocessing.get_all_start_methods(),
        reason="the engines fork their workers",
    ),
    pytest.mark.timeout(600),
]

PLAIN = """
import os


def run(inputs):
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


@pytest.fixture(autouse=True)
def _calm(services: Services) -> None:
    services.model.configure()
    services.model.reset()


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Path]:
    def write(source: str) -> Path:
        path = tmp_path / "app.py"
        path.write_text(source, encoding="utf-8")
        return path

    return write


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


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_no_job_is_lost_where_it_is_acknowledged_late_and_given_back(
    make: Callable[[str], Path], broker: Any, services: Services, pool: str
) -> None:
    run = _killed(make(ASKING), broker, services, pool, QUICK)
    run.expect(ok="all")
    assert max(record.attempts for record in run.requests) >= 2, "more where all is slow"
    assert sum(replica.replaced for replica in run.replicas) == 2


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


def test_a_result_that_is_no_plain_data_is_told_by_celery(
    make: Callable[[str], Path], broker: Any
) -> None:
    run = celery(make(PLAIN), requests=customers("hello", "an object"), broker=broker)
    run.expect(ok=1, errors=1, error="not JSON serializable")


def test_a_run_leaves_nothing_in_the_broker(make: Callable[[str], Path], broker: Any) -> None:
    broker.client.set("somebody", "else's")
    celery(make(PLAIN), requests=2, broker=broker).expect(ok="all")
    assert broker.client.keys("*") == ["somebody"]
    broker.client.delete("somebody")


# --- the broker -------------------------------------------------------------------------------


def test_it_listens_on_this_machine_only_and_is_gone_when_it_is_stopped(
    services: Services,
) -> None:
    with brokers.temporary() as running:
        pid = int(running.client.info("server")["process_id"])
        listening = [c.laddr.ip for c in psutil.Process(pid).net_connections() if c.raddr == ()]
        assert listening == ["127.0.0.1"]
    assert not psutil.pid_exists(pid)
    assert not running.answers()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server here")
def test_a_redis_server_is_as_good(make: Callable[[str], Path], services: Services) -> None:
    with brokers.temporary(server="redis-server") as running:
        assert running.kind == "redis-server"
        celery(make(PLAIN), requests=2, broker=running).expect(ok="all")


def test_a_broker_of_yours_is_used_and_not_killed(
    broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", broker.url)
    mine = brokers.broker()
    assert mine.url == broker.url
    with pytest.raises(ToldValueError, match="is yours"):
        mine.kill()


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("redis://user:secret@127.0.0.1:1/0", ToldOSError, "No broker answers at redis://127.0"),
        ("http://127.0.0.1:1", ToldValueError, "REDIS_URL is no address of a Redis"),
    ],
)
def test_a_wrong_url_is_told_without_its_password(
    url: str, error: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(error, match=says) as told:
        brokers.broker()
    assert "secret" not in str(told.value)


def test_no_broker_on_this_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers, "_embedded", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(ToldValueError, match="There is no broker on this machine"):
        brokers.start()
    with pytest.raises(ToldValueError, match="is unknown"):
        brokers.start(server="rabbitmq")


def test_a_broker_killed_in_mid_run_leaves_no_job_unaccounted_for(
    make: Callable[[str], Path], services: Services
) -> None:
    services.model.configure(hang=range(1, 100))
    with brokers.temporary() as running:

        def pull_the_plug() -> None:
            deadline = time.monotonic() + 300
            while services.model.stats().total < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            running.kill()

        plug = threading.Thread(target=pull_the_plug)
        plug.start()
        run = celery(make(ASKING), pool="threads", requests=4, broker=running, timeout=300)
        plug.join()
    run.expect(lost="all")
    assert run.requests[0].error == "the broker is gone, and the queue with it"


def test_what_does_not_fit_into_the_broker_fails_alone(
    make: Callable[[str], Path], services: Services
) -> None:
    requests = [*customers("hello", "a lot"), {"company": "Company2", "text": 12_000_000 * "x"}]

    def named(inputs: Any, answer: str) -> bool:
        return inputs["company"] in answer

    with brokers.temporary(memory="10mb") as full:
        run = celery(make(PLAIN), requests=requests, broker=full, judge=named)
    assert [record.kind for record in run.requests] == ["ok", "error", "error"]
    assert "OOM" in (run.requests[1].error or "") or "memory" in (run.requests[1].error or "")
    assert "the queue did not take it" in (run.requests[2].error or "")


# --- what cannot be -----------------------------------------------------------------------------


def test_a_missing_engine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ToldValueError, match="celery is not installed here"):
        host.require("celery")


def test_a_system_without_fork_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(ToldValueError, match="needs Linux or macOS"):
        host.require("gunicorn")


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
