"""Each notebook, run as ``jupyter execute`` runs it, leaves nothing behind and asks nobody else.

One run a notebook proves it all. Where the system allows it, the run happens in a network
namespace with nothing but a loopback interface: there, no packet can leave at all.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from crewlab.building.kernel import private_environment
from tests.processes import MARK, wait_until_empty, wait_until_gone

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted([*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("solutions/*.ipynb")])
WATCH = ROOT / "tests" / "data" / "watch_network"

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


@dataclass(frozen=True)
class Finished:
    """What a run of a notebook left."""

    exit_code: int
    said: str
    mark: str
    temporary: Path
    home: Path
    network: list[tuple[int, str, object]]
    new_files: list[str]


@pytest.fixture(
    scope="module", params=NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    notebook: Path = request.param
    rooms = tmp_path_factory.mktemp("alone")
    log = rooms / "network.jsonl"
    log.touch()
    mark = f"{notebook.parent.name}/{notebook.stem}/{os.getpid()}"
    environment = private_environment(rooms) | {
        MARK: mark,
        "NETWORK_LOG": str(log),
        "PYTHONPATH": str(WATCH),
        "JUPYTER_RUNTIME_DIR": str(rooms / "runtime"),
        # A kernel called python3 in the user's own folders would be another environment's.
        "JUPYTER_DATA_DIR": str(rooms / "data"),
    }
    before = set(notebook.parent.iterdir())
    done = subprocess.run(
        [*sealed(), sys.executable, "-m", "jupyter", "execute", "--timeout=60", str(notebook)],
        env=environment,
        cwd=notebook.parent,
        capture_output=True,
        text=True,
        timeout=240,
    )
    new_files = sorted(path.name for path in set(notebook.parent.iterdir()) - before)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return Finished(
        exit_code=done.returncode,
        said=done.stdout + done.stderr,
        mark=mark,
        temporary=rooms / "tmp",
        home=rooms / "home",
        network=[tuple(line) for line in lines],
        new_files=[name for name in new_files if name != ".ipynb_checkpoints"],
    )


def test_it_runs_to_its_end(finished: Finished) -> None:
    assert finished.exit_code == 0, finished.said[-3000:]


def test_no_process_and_no_port_outlives_it(finished: Finished) -> None:
    assert wait_until_gone(finished.mark) == []


def test_its_temp_folder_is_empty_afterwards(finished: Finished) -> None:
    assert wait_until_empty(finished.temporary) == []


def test_it_leaves_no_files_beside_itself_and_no_folder_of_its_kernel(finished: Finished) -> None:
    assert finished.new_files == []
    assert [path.name for path in finished.home.glob("kernel-*")] == []


def test_it_turns_to_no_other_machine(finished: Finished) -> None:
    assert finished.network, "nothing was watched: not even the kernel's own connections"
    assert [entry for entry in finished.network if not is_local(entry[2])] == []


def is_local(address: object) -> bool:
    """Tell this machine's loopback and local sockets from all other addresses."""
    host = address[0] if isinstance(address, list) and address else address
    if not isinstance(host, str):
        return True  # no address at all, or a number that names something in the kernel
    # repr() of bytes: the abstract sockets that multiprocessing uses.
    if host == "localhost" or host.startswith(("/", "\0", "b'\\x00", "b'/")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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

    environment = os.environ | {"NETWORK_LOG": str(log), "PYTHONPATH": str(WATCH)}
    subprocess.run([*sealed(), sys.executable, "-c", program], env=environment, check=False)

    addresses = [json.loads(line)[2] for line in log.read_text(encoding="utf-8").splitlines()]
    assert ["192.0.2.1", 9] in addresses
    assert not all(is_local(address) for address in addresses)
