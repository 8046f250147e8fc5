"""Runs a command as a container would: in a root of its own, read-only, as a user without rights.

What plays the image: this machine's programs, the course's environment in the place of the image's,
and the template's package. All is mounted read-only, in a namespace that ends with the command.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.deployment_files import TEMPLATE

USER = 10001
# Arguments: the folder to make the root in, the environment, its Python, the service, the places of
# the environment and of the service in the image, and the command that starts the rest.
MAKE_ROOT = """
set -eu
root=$1 environment=$2 python=$3 service=$4 to_environment=$5 to_service=$6
shift 6
mount -t tmpfs -o mode=755 tmpfs "$root"
show() {
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    mount -o remount,bind,ro "$root$2"
}
for top in bin lib lib32 lib64 libx32 sbin usr etc; do
    if [ -L "/$top" ]; then cp -P "/$top" "$root/$top"
    elif [ -d "/$top" ]; then show "/$top" "/$top"; fi
done
case $python in /usr|/usr/*) ;; *) show "$python" "$python" ;; esac
show "$environment" "$to_environment"
show "$service" "$to_service"
mkdir "$root/dev" "$root/proc" "$root/tmp"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount -t tmpfs -o mode=1777,size=128m tmpfs "$root/tmp"
mount -o remount,ro "$root"
exec "$@"
"""


class Contained:
    """A running command.

    Attributes:
        process: the command's own process: what makes the root becomes it.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def root(self) -> Path:
        """Its root, as this process can look into it."""
        return Path("/proc", str(self.process.pid), "root")

    def status(self) -> dict[str, list[str]]:
        """Say what the kernel knows of it."""
        lines = Path("/proc", str(self.process.pid), "status").read_text().splitlines()
        return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}

    def mounts(self) -> dict[str, list[str]]:
        """Give the options of each of its mounts."""
        lines = Path("/proc", str(self.process.pid), "mounts").read_text().splitlines()
        return {place: options.split(",") for _, place, _, options, *_ in map(str.split, lines)}

    def wait_until(self, happens: Callable[[], bool], patience: float = 150.0) -> None:
        """Wait until something happens, or it ends."""
        deadline = time.monotonic() + patience
        while not happens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"exit code {self.process.poll()}:\n{self.log}")
            time.sleep(0.1)


def why_not() -> str | None:
    """Say why this machine cannot do it, or None."""
    if not sys.platform.startswith("linux") or not shutil.which("unshare"):
        return "mount namespaces are Linux's, and made with unshare"
    with contextlib.suppress(subprocess.TimeoutExpired):
        script = "mount -t tmpfs tmpfs /srv && mount -o remount,bind,ro /srv"
        tried = subprocess.run(
            [*_in_a_namespace(), "sh", "-c", script], capture_output=True, timeout=30, check=False
        )
        if tried.returncode == 0:
            return None
    return "this machine does not let unshare mount anything"


@contextlib.contextmanager
def contained(
    command: Sequence[str], workdir: str, variables: Mapping[str, str], folder: Path
) -> Iterator[Contained]:
    """Run a command until the block ends; nothing of it is left then."""
    root, log = folder / "root", folder / "log.txt"
    root.mkdir()
    path = variables["PATH"].replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
    environment = Path(path.partition(":")[0]).parent
    settings = [f"{name}={value}" for name, value in {**variables, "PATH": path}.items()]
    # In a namespace of users there is only one, which has no rights outside.
    user = [f"--userspec={USER}:{USER}", "--groups="] if os.geteuid() == 0 else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(*_in_a_namespace(), "sh", "-c", MAKE_ROOT, "make-root"),
                *(str(root), sys.prefix, sys.base_prefix, str(TEMPLATE / "service")),
                *(str(environment), f"{workdir}/service"),
                *("chroot", *user, str(root)),
                *("env", "--ignore-environment", f"--chdir={workdir}", *settings, *command),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Contained(process, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _in_a_namespace() -> list[str]:
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
