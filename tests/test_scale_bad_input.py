"""What ``scale`` says to arguments and apps that cannot work."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from crewlab import scale
from tests.apps import ECHO, write_app


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"replicas": 0}, "from 1 to 64"),
        ({"replicas": 1000}, "from 1 to 64"),
        ({"replicas": 2.5}, "whole number"),
        ({"replicas": True}, "whole number"),
        ({"threads": 0}, "from 1 to 128"),
        ({"requests": 0}, "from 1 to 10000"),
        ({"requests": []}, "from 1 to 10000"),
        ({"requests": ["Aldermoor"]}, "Request 0 is a str, not a dict"),
        ({"requests": [{"company": "A"}, None]}, "Request 1 is a NoneType, not a dict"),
        ({"requests": {"company": "A"}}, "a list with the inputs of each request"),
        ({"requests": "Aldermoor"}, "a list with the inputs of each request"),
        ({"requests": [{"lock": threading.Lock()}]}, "cannot be sent to another process"),
        ({"start_method": "threads"}, "'forkserver', 'spawn' or 'fork'"),
        ({"env": {"PORT": 80}}, "map names to strings"),
        ({"env": [{}]}, "1 environments for 4 replicas"),
        ({"files": {".env": b"A=1"}}, "map relative paths to texts"),
        ({"files": [".env"]}, "map relative paths to texts"),
        ({"files": {"../.env": ""}}, "inside the working directory"),
        ({"files": {"/etc/hosts": ""}}, "inside the working directory"),
        ({"files": {"": ""}}, "inside the working directory"),
        ({"memory_limit": 0}, "more than 0"),
        ({"timeout": 0}, "more than 0"),
        ({"timeout": float("nan")}, "more than 0"),
        ({"startup_timeout": "soon"}, "give seconds"),
        ({"restarts": -1}, "from 0 to 20"),
    ],
)
def test_an_argument_that_cannot_be_deployed_is_refused_with_a_reason(
    tmp_path: Path, wrong: dict[str, object], says: str
) -> None:
    with pytest.raises((ValueError, TypeError)) as refused:
        scale(write_app(tmp_path, ECHO), **wrong)  # type: ignore[arg-type]
    assert says in str(refused.value)
    shown = refused.value._render_traceback_()  # type: ignore[union-attr]
    assert "\n".join(shown) == str(refused.value)  # a notebook shows this, and no traceback
    assert len(shown) <= 3


@pytest.mark.parametrize(("app", "says"), [(None, "scale(broken)"), (42, "scale(broken)")])
def test_something_that_is_no_app_is_refused(app: object, says: str) -> None:
    with pytest.raises(TypeError, match=r"needs an app") as refused:
        scale(app)  # type: ignore[arg-type]
    assert says in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no app file"):
        scale(tmp_path / "absent.py")


def test_an_app_whose_file_was_deleted_says_which_cell_to_run(tmp_path: Path) -> None:
    app = write_app(tmp_path, ECHO)
    app.path.unlink()
    with pytest.raises(ValueError, match="Run that cell again"):
        scale(app)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("x = 1", "AttributeError: app.py has no function run(inputs)"),
        ("run = 3", "AttributeError: app.py has no function run(inputs)"),
        ("def run(inputs:", "SyntaxError: '(' was never closed"),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("import os\nos.environ['NO_SUCH_NAME']", "KeyError: 'NO_SUCH_NAME'"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
    ],
)
def test_an_app_that_fails_at_import_loses_every_request_and_says_why(
    tmp_path: Path, body: str, error: str
) -> None:
    run = scale(write_app(tmp_path, body), replicas=2, threads=1, requests=4)
    assert run.lost == 4
    assert run.first_error is not None
    assert run.first_error.startswith(error)
    assert {replica.status for replica in run.replicas} == {"Error"}
    assert {replica.exit_code for replica in run.replicas} == {1}
    assert error.split(":")[0] in (run.first_traceback or "")
    assert error.split(":")[0] in run.replicas[0].log


def test_an_app_without_requests_argument_fails_each_request(tmp_path: Path) -> None:
    run = scale(write_app(tmp_path, "def run(): return ''"), replicas=1, requests=3)
    assert run.error == 3
    assert "takes 0 positional arguments" in (run.first_error or "")


@pytest.mark.parametrize("value", ["{'a': 1}", "None", "b'bytes'", "object()"])
def test_an_answer_that_is_not_text_is_an_error(tmp_path: Path, value: str) -> None:
    run = scale(write_app(tmp_path, f"def run(inputs): return {value}"), replicas=1, requests=2)
    assert run.error == 2
    assert "a replica sends text: return str" in (run.first_error or "")


@pytest.mark.parametrize("raising", ["SystemExit(2)", "KeyboardInterrupt()", "ValueError('bad')"])
def test_whatever_a_request_raises_is_that_requests_error(tmp_path: Path, raising: str) -> None:
    body = f"""
        def run(inputs):
            if inputs["company"] == "Aldermoor":
                raise {raising}
            return inputs["company"]
    """
    run = scale(write_app(tmp_path, body), replicas=1, threads=2, requests=6)
    assert (run.error, run.ok) == (1, 5)
    assert run.requests[0].kind == "error"
    assert "app.py" in (run.requests[0].traceback or "")


def test_megabytes_of_output_slow_nothing_down_and_only_their_end_is_kept(tmp_path: Path) -> None:
    body = """
        def run(inputs):
            for _ in range(50):
                print("x" * 100_000)
            print("last words")
            return inputs["company"]
    """
    run = scale(write_app(tmp_path, body), replicas=1, threads=2, requests=4)
    assert run.ok == 4
    assert len(run.replicas[0].log) <= 64 * 1024
    assert run.replicas[0].log.endswith("last words\n")


def test_an_answer_of_megabytes_arrives(tmp_path: Path) -> None:
    body = "def run(inputs): return inputs['company'] + ' ' + 'x' * 900_000"
    run = scale(write_app(tmp_path, body), replicas=2, threads=2, requests=8)
    assert run.ok == 8
    assert all(len(record.answer or "") > 900_000 for record in run.requests)
