"""Notebooks run as ``jupyter execute`` runs them leave nothing behind and ask nobody else.

Where the system allows it, the run happens in a network namespace with nothing but a loopback
interface: there, no packet can leave at all. Under nbval (notebook_items.py) every notebook runs
and is watched already, so chapter 00 stands for all here, unless CREWLAB_TEST=whole.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.watch import NOTING, Watch, is_local, noted
from tests.whole import WHOLE

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted([*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("solutions/*.ipynb")])
CHOSEN = NOTEBOOKS if WHOLE else [path for path in NOTEBOOKS if path.match("notebooks/00_*")]

# A new namespace's loopback interface is down; this brings it up without needing `ip`.
LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    flags = 0x1 | 0x8 | 0x40  # IFF_UP, IFF_LOOPBACK, IFF_RUNNING; SIOCSIFFLAGS is 0x8914
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", b"lo", flags))
os.execvp(sys.argv[1], sys.argv[1:])
"""


@functools.cache
def sealed() -> tuple[str, ...]:
    """Give the command that runs another one cut off from every network, if there is one."""
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    command = ("unshare", "-n" if as_root else "-rn", sys.executable, "-c", LOOPBACK_UP)
    try:
        done = subprocess.run([*command, "true"], capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return command if done.returncode == 0 else ()


Finished = tuple[subprocess.CompletedProcess[str], Watch]


@pytest.fixture(scope="module", params=CHOSEN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    notebook: Path = request.param
    rooms = tmp_path_factory.mktemp("alone")
    watch = Watch(notebook, rooms)
    environment = watch.environment | {
        "JUPYTER_RUNTIME_DIR": str(rooms / "runtime"),
        # A kernel called python3 in the user's own folders would be another environment's.
        "JUPYTER_DATA_DIR": str(rooms / "data"),
    }
    done = subprocess.run(
        [*sealed(), sys.executable, "-m", "jupyter", "execute", "--timeout=60", str(notebook)],
        env=environment,
        cwd=notebook.parent,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done, watch


def test_it_runs_to_its_end(finished: Finished) -> None:
    done, _ = finished
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_nothing_outlives_it(finished: Finished) -> None:
    _, watch = finished
    watch.assert_nothing_is_left()


def test_it_turns_to_no_other_machine(finished: Finished) -> None:
    _, watch = finished
    watch.assert_no_other_machine_was_asked()


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (["127.0.0.1", 80], True),
        (["::1", 80, 0, 0], True),
        ("/run/listener", True),
        ("localhost", True),
        (None, True),
        (["10.0.0.1", 80], False),
        (["0.0.0.0", 80], False),  # noqa: S104
        (["::", 80, 0, 0], False),
        (["", 80], False),
        ("api.openai.com", False),
        ("127.example.com", False),
    ],
)
def test_what_counts_as_this_machine(address: object, local: bool) -> None:
    assert is_local(address) is local


def test_the_watch_sees_a_program_turn_to_another_machine(tmp_path: Path) -> None:
    log = tmp_path / "network.jsonl"
    # Connecting a datagram socket sends nothing; 192.0.2.0/24 is nobody's (RFC 5737).
    program = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"

    environment = os.environ | {"NETWORK_LOG": str(log), "PYTHONPATH": str(NOTING)}
    subprocess.run([*sealed(), sys.executable, "-c", program], env=environment, check=False)

    addresses = noted(log)
    assert ["192.0.2.1", 9] in addresses
    assert not all(is_local(address) for address in addresses)
