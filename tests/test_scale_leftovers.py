"""Whatever ends a run or its process, no process and no temporary folder stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from crewlab import scale
from tests.apps import ECHO, write_app

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")

MARK = "CREWLAB_TEST_MARK"
SLOW = "import time\ndef run(inputs):\n    time.sleep(60)\n    return inputs['company']\n"
SCRIPT = """
import signal
import sys
from crewlab import scale
# A shell's background job, as a CI's may be, hands an ignored SIGINT on.
signal.signal(signal.SIGINT, signal.default_int_handler)
print("script runs", flush=True)

def tell(event):
    print(event.kind, flush=True)

run = scale(sys.argv[1], replicas=2, requests=2, on_event=tell)
print(run.counts, flush=True)
"""


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until_nothing_is_left(mark: str, folder: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (marked(mark) or list(folder.iterdir())):
        time.sleep(0.05)
    assert [process.cmdline() for process in marked(mark)] == []
    assert list(folder.iterdir()) == []


@pytest.fixture
def start_script(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Start a plain script without a main guard, with a temporary folder and a mark of its own."""
    short = tempfile.TemporaryDirectory(prefix="t-")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    mark = f"{os.getpid()}-{tmp_path.name}"
    started: list[subprocess.Popen[str]] = []

    def start(
        app_source: str, *, long_path: bool = False, preload: str = "off"
    ) -> tuple[subprocess.Popen[str], str, Path]:
        temporary = Path(short.name) / ("x" * 120 if long_path else "t")
        temporary.mkdir()
        app = write_app(tmp_path, app_source)
        process = subprocess.Popen(
            [sys.executable, str(script), str(app.path)],
            env={**os.environ, MARK: mark, "TMPDIR": str(temporary), "CREWLAB_PRELOAD": preload},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process, mark, temporary

    yield start
    for process in started:
        process.kill()
        for left in marked(mark):
            left.kill()
        process.communicate(timeout=10)
    short.cleanup()


def wait_for_two_taken(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    taken = 0
    while taken < 2:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        taken += line == "taken\n"


def test_a_plain_script_without_a_main_guard_runs_once_and_leaves_nothing(
    start_script,  # type: ignore[no-untyped-def]
) -> None:
    process, mark, temporary = start_script(ECHO)
    out, err = process.communicate(timeout=60)
    assert out.count("script runs") == 1
    assert "{'ok': 2, 'wrong': 0, 'error': 0, 'timeout': 0, 'lost': 0}" in out
    assert err == ""
    wait_until_nothing_is_left(mark, temporary)


def test_an_interrupt_of_the_whole_group_in_the_middle_of_a_run_leaves_nothing(
    start_script,  # type: ignore[no-untyped-def]
) -> None:
    process, mark, temporary = start_script(SLOW)
    wait_for_two_taken(process)
    assert len(marked(mark)) >= 4  # the script, the fork server, two replicas
    os.killpg(process.pid, signal.SIGINT)  # as a notebook's stop button does
    _, err = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in err
    wait_until_nothing_is_left(mark, temporary)


def test_a_kernel_killed_in_the_middle_of_a_run_leaves_nothing(
    start_script,  # type: ignore[no-untyped-def]
) -> None:
    process, mark, temporary = start_script(SLOW)
    wait_for_two_taken(process)
    process.kill()
    process.communicate(timeout=20)
    wait_until_nothing_is_left(mark, temporary)


def test_a_kernel_killed_while_the_fork_server_imports_leaves_nothing(
    start_script,  # type: ignore[no-untyped-def]
) -> None:
    process, mark, temporary = start_script(ECHO, preload="on")
    assert process.stdout is not None
    assert process.stdout.readline() == "script runs\n"
    deadline = time.monotonic() + 20
    while len(marked(mark)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)  # until the fork server is there
    process.kill()
    process.communicate(timeout=20)
    wait_until_nothing_is_left(mark, temporary)
    time.sleep(1)  # a fork server that had lived on would make its folder again
    assert list(temporary.iterdir()) == []


def test_a_killed_kernel_takes_a_stopped_replica_with_it(
    start_script,  # type: ignore[no-untyped-def]
) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux can tie a stopped process to its parent")
    process, mark, temporary = start_script(
        "import os, signal\ndef run(inputs):\n    os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    wait_for_two_taken(process)
    process.kill()
    process.communicate(timeout=20)
    wait_until_nothing_is_left(mark, temporary)


LEAVES_A_CHILD = """
import os, time

child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)


def run(inputs):
    os._exit(3)
"""


def test_a_replica_that_ends_takes_with_it_what_it_started(
    start_script,  # type: ignore[no-untyped-def]
) -> None:
    process, mark, temporary = start_script(LEAVES_A_CHILD)
    out, err = process.communicate(timeout=60)
    assert "'lost': 2" in out, err
    wait_until_nothing_is_left(mark, temporary)


def test_an_error_in_a_display_ends_the_run_and_its_replicas(tmp_path: Path) -> None:
    def fail(event: object) -> None:
        raise RuntimeError("the display broke")

    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with pytest.raises(RuntimeError, match="the display broke"):
        scale(write_app(tmp_path, SLOW), replicas=2, requests=2, on_event=fail)
    replicas = {process.pid for process in psutil.Process().children(recursive=True)} - before
    assert len(replicas) <= 3  # at most the fork server, its tracker and the janitor, if new


def test_a_temporary_folder_with_a_long_path_is_no_obstacle(
    start_script,  # type: ignore[no-untyped-def]
) -> None:
    process, mark, temporary = start_script(ECHO, long_path=True)
    out, err = process.communicate(timeout=60)
    assert "{'ok': 2," in out, err
    wait_until_nothing_is_left(mark, temporary)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="only root can mount a small disk",
)
def test_a_full_temporary_folder_is_said_in_three_lines(tmp_path: Path) -> None:
    app = write_app(tmp_path, ECHO)
    small = tmp_path / "small"
    small.mkdir()
    script = (
        "from crewlab import scale\n"
        "from crewlab.errors import ToldOSError\n"
        "from crewlab.deployment.scratch import scratch_folder\n"
        "fill = (scratch_folder() / 'fill').open('wb', buffering=0)\n"
        "try:\n"
        "    while True: fill.write(bytes(4096))\n"
        "except OSError: pass\n"
        "try:\n"
        f"    run = scale({str(app.path)!r}, replicas=1, requests=1)\n"
        "except ToldOSError as error: print(error)\n"
    )
    mount = 'mount -t tmpfs -o size=128k none "$0" && exec "$@"'
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, small, sys.executable, "-c", script],
        env={**os.environ, "TMPDIR": str(small), "CREWLAB_PRELOAD": "off"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "mount" in result.stderr:
        pytest.skip(f"this system lets nobody mount: {result.stderr.strip()}")
    assert result.stderr == ""
    assert len(result.stdout.splitlines()) == 3
    assert "No space left on device" in result.stdout
    assert "set TMPDIR to a folder with room" in result.stdout
