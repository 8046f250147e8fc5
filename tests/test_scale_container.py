"""What a replica has of its own: environment, disk, log, start method, read-only root."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from crewlab import scale
from tests.apps import ECHO, write_app

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="the start method is POSIX's")
START_METHODS = [
    "spawn",
    pytest.param("forkserver", marks=POSIX),
    pytest.param("fork", marks=POSIX),
]

REPORT = """
    import json, os, sys, tempfile
    from pathlib import Path

    started = os.getpid()

    def run(inputs):
        Path("mine.txt").write_text("x")
        print("working on", inputs["company"])
        return json.dumps({
            "company": inputs["company"], "pid": os.getpid(), "imported_in": started,
            "cwd": os.getcwd(), "tmp": tempfile.gettempdir(), "home": str(Path.home()),
            "files": os.listdir(), "key": os.environ.get("KEY"), "path": os.environ.get("PATH"),
            "name": __name__, "crewai": "crewai" in sys.modules,
        })
"""


def deploy_report(folder: Path, **options: Any) -> list[dict[str, Any]]:
    run = scale(write_app(folder, REPORT), replicas=2, threads=1, requests=2, **options)
    assert run.ok == 2, run
    return [json.loads(record.answer or "") for record in run.requests]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux holds to cores")
def test_all_replicas_share_the_cores_they_are_given(tmp_path: Path) -> None:
    app = write_app(
        tmp_path,
        """
        import os

        at_import = sorted(os.sched_getaffinity(0))

        def run(inputs):
            return f"{inputs['company']} {at_import} {sorted(os.sched_getaffinity(0))}"
        """,
    )
    run = scale(app, replicas=2, threads=1, requests=2, cores=1)
    first = sorted(os.sched_getaffinity(0))[:1]
    for record in run.requests:
        assert record.answer == f"{record.inputs['company']} {first} {first}"


@pytest.mark.skipif(hasattr(os, "sched_getaffinity"), reason="Linux holds to cores")
def test_cores_are_refused_where_no_process_can_be_held_to_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cores= needs sched_setaffinity"):
        scale(write_app(tmp_path, ECHO), cores=1)


@pytest.mark.parametrize("start_method", START_METHODS)
def test_each_replica_has_a_disk_of_its_own_that_is_gone_afterwards(
    tmp_path: Path, start_method: str
) -> None:
    first, second = deploy_report(tmp_path, start_method=start_method)
    for place in ("cwd", "tmp", "home"):
        assert first[place] != second[place]
        assert not Path(first[place]).exists()
    assert first["files"] == second["files"] == ["mine.txt"]
    assert first["pid"] != second["pid"]
    assert first["name"] == "app"


@pytest.mark.parametrize("start_method", START_METHODS)
def test_each_replica_has_the_files_it_is_given(tmp_path: Path, start_method: str) -> None:
    source = "from pathlib import Path\nTEXT = Path('conf/a.txt').read_text(encoding='utf-8')\n"
    app = write_app(tmp_path, source + "def run(inputs): return inputs['company'] + TEXT")
    run = scale(app, replicas=2, requests=2, files={"conf/a.txt": " é"}, start_method=start_method)
    assert [record.answer for record in run.requests] == ["Aldermoor é", "Brightwater é"]


@POSIX
def test_only_a_preloading_master_imports_the_app_for_all_replicas(tmp_path: Path) -> None:
    apart = deploy_report(tmp_path)
    assert all(report["imported_in"] == report["pid"] for report in apart)
    preloaded = deploy_report(tmp_path, start_method="fork")
    assert len({report["imported_in"] for report in preloaded}) == 1
    assert all(report["imported_in"] != report["pid"] for report in preloaded)


@POSIX
def test_the_fork_server_has_crewai_imported_and_spawn_has_not(tmp_path: Path) -> None:
    assert all(report["crewai"] for report in deploy_report(tmp_path))
    assert not any(report["crewai"] for report in deploy_report(tmp_path, start_method="spawn"))


GRAMMARS = """
    import importlib

    def run(inputs):
        try:
            importlib.import_module("rfc3987_syntax")
        except ImportError as error:
            return f"{inputs['company']}: {error}"
        return f"{inputs['company']}: it is there"
"""


@pytest.mark.parametrize("start_method", START_METHODS)
def test_an_image_has_no_jupyter_in_it(tmp_path: Path, start_method: str) -> None:
    importlib.import_module("rfc3987_syntax")  # this environment does have it
    run = scale(write_app(tmp_path, GRAMMARS), replicas=1, requests=1, start_method=start_method)  # type: ignore[arg-type]
    assert "an image has no Jupyter in it" in (run.requests[0].answer or "")


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_replica_has_built_what_first_kickoffs_build_without_a_lock(
    tmp_path: Path, start_method: str
) -> None:
    app = write_app(
        tmp_path,
        """
        import crewai

        def run(inputs):
            from crewai.agents.agent_executor import AgentExecutor
            from openai.types.chat import ChatCompletion

            built = "_flow_definition" in AgentExecutor.__dict__
            return f"{inputs['company']} {built} {ChatCompletion.__pydantic_complete__}"
        """,
    )
    run = scale(app, replicas=1, threads=1, requests=1, start_method=start_method)  # type: ignore[arg-type]
    assert (run.requests[0].answer or "").endswith(" True True")


@pytest.mark.parametrize("start_method", START_METHODS)
def test_the_environment_is_todays_with_the_changes_asked_for(
    tmp_path: Path, start_method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "set after the fork server started")
    for report in deploy_report(tmp_path, start_method=start_method):
        assert report["key"] == "set after the fork server started"
        assert report["path"] == os.environ["PATH"]
    taken = deploy_report(tmp_path, start_method=start_method, env={"KEY": None})
    assert [report["key"] for report in taken] == [None, None]


def test_each_replica_may_have_an_environment_of_its_own(tmp_path: Path) -> None:
    reports = deploy_report(tmp_path, env=[{"KEY": "one"}, {"KEY": ""}])
    assert [report["key"] for report in reports] == ["one", ""]


def test_what_a_replica_prints_is_kept_in_its_own_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = scale(write_app(tmp_path, REPORT), replicas=2, threads=1, requests=2)
    assert [replica.log.strip() for replica in run.replicas] == [
        "working on Aldermoor",
        "working on Brightwater",
    ]
    assert capfd.readouterr().out == ""


def test_a_module_beside_the_app_can_be_imported(tmp_path: Path) -> None:
    write_app(tmp_path, "TITLE = 'Report on'", name="titles")
    body = "from titles import TITLE\ndef run(inputs): return f\"{TITLE} {inputs['company']}\""
    assert scale(write_app(tmp_path, body), replicas=1, requests=1).ok == 1


WRITES = """
    import os, sqlite3, tempfile
    from pathlib import Path

    ACTIONS = {
        "write": lambda: Path("report.txt").write_text("x"),
        "append": lambda: open("report.txt", "a"),
        "mkdir": lambda: os.mkdir("folder"),
        "rename": lambda: os.rename(tempfile.mkstemp()[1], "report.txt"),
        "database": lambda: sqlite3.connect("data.db"),
        "home": lambda: (Path.home() / "settings").write_text("x"),
        "flags": lambda: os.open("report.txt", os.O_CREAT | os.O_WRONLY),
        "temporary": lambda: tempfile.NamedTemporaryFile().write(b"x"),
        "read": lambda: Path(__file__).read_text(),
        "null": lambda: open(os.devnull, "w").write("x"),
    }

    def run(inputs):
        ACTIONS[inputs["action"]]()
        return inputs["action"]
"""


def test_a_read_only_root_refuses_writes_and_leaves_reads_and_the_temporary_folder(
    tmp_path: Path,
) -> None:
    actions = ["write", "append", "mkdir", "rename", "database", "home", "flags"]
    harmless = ["temporary", "read", "null"]
    requests = [{"action": action} for action in actions + harmless]
    run = scale(write_app(tmp_path, WRITES), replicas=1, requests=requests, read_only=True)
    outcomes = {record.inputs["action"]: record for record in run.requests}
    for action in actions:
        assert "[Errno 30] Read-only file system" in (outcomes[action].error or ""), action
    assert [outcomes[action].kind for action in harmless] == ["ok"] * 3
    assert scale(write_app(tmp_path, WRITES), replicas=1, requests=requests).ok == len(requests)


def test_requests_spread_over_the_replicas_and_run_at_the_same_time(tmp_path: Path) -> None:
    body = ECHO.replace(
        "def run(inputs):", "import time\n    def run(inputs):\n        time.sleep(1)"
    )
    run = scale(write_app(tmp_path, body), replicas=4, threads=2, requests=8)
    assert run.peak_concurrency == 8
    assert {(r.replica, r.thread) for r in run.requests} == {
        (f"app-{replica}", thread) for replica in range(4) for thread in range(2)
    }


def test_events_tell_of_every_replica_and_request(tmp_path: Path) -> None:
    seen: list[tuple[str, str | None]] = []
    scale(
        write_app(tmp_path, ECHO),
        replicas=2,
        requests=3,
        on_event=lambda event: seen.append((event.kind, event.outcome)),
    )
    assert sorted(kind for kind, _ in seen) == ["finished"] * 3 + ["ready"] * 2 + ["taken"] * 3
    assert [outcome for kind, outcome in seen if kind == "finished"] == ["ok"] * 3


def test_a_judge_of_ones_own_decides_what_is_right(tmp_path: Path) -> None:
    run = scale(
        write_app(tmp_path, ECHO), replicas=1, requests=4, judge=lambda inputs, answer: False
    )
    assert run.wrong == 4


AUTHORITIES = """
    import ssl

    def run(inputs):
        trusted = ssl.create_default_context().get_ca_certs()
        return " ".join(name for one in trusted for ((_, name),) in one["subject"][-1:])
"""


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_replica_whose_model_is_on_this_machine_reads_one_certificate_only(
    tmp_path: Path, start_method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "the_machines.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))  # the system's folder of authorities
    app = write_app(tmp_path, AUTHORITIES)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    run = scale(app, replicas=1, threads=1, requests=1, start_method=start_method)
    assert run.requests[0].answer == "crewlab trusts nobody", run


def test_what_is_elsewhere_is_trusted_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SERPER_BASE_URL", "http://127.0.0.1:9")
    app = write_app(
        tmp_path, "import os\ndef run(inputs): return os.environ.get('SSL_CERT_FILE', 'none')"
    )
    monkeypatch.setenv("OPENAI_BASE_URL", "https://models.example.com/v1")
    assert scale(app, replicas=1, threads=1, requests=1).requests[0].answer == "none"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("SERPER_BASE_URL", "https://news.example.com")
    assert scale(app, replicas=1, threads=1, requests=1).requests[0].answer == "none"
    monkeypatch.setenv("SERPER_BASE_URL", "http://127.0.0.1:9")
    mine = scale(app, replicas=1, threads=1, requests=1, env={"SSL_CERT_FILE": "mine.pem"})
    assert mine.requests[0].answer == "mine.pem"
