"""The command of the take-home image, run here in a root that is read-only: CREWLAB_TEST=whole."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import httpx
import psutil
import pytest

from crewlab.services import Services
from tests.deployment_files import DEPLOY, Files, mebibytes
from tests.read_only_root import USER, Contained, contained, why_not

pytestmark = pytest.mark.whole
FILES = Files(DEPLOY)
BUCKET = "contained"


@pytest.fixture(scope="module")
def variables(services: Services) -> dict[str, str]:
    """What the container has in its environment, filled in for this machine's services."""
    if problem := why_not():
        pytest.skip(problem)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    ours = {
        name: value
        for name, value in services.environment.items()
        if value and name.startswith(("OPENAI_", "AWS_"))
    }
    here = {"SERVICE_BUCKET": BUCKET, "SERVICE_PORT": "0"}
    return FILES.cluster_variables | ours | here


@pytest.fixture(scope="module")
def running(
    variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Contained]:
    """The service, ready."""
    with started(variables, tmp_path_factory.mktemp("contained")) as one:
        one.wait_until(lambda: bool(url(one)) and '"message": "ready"' in one.log)
        yield one


def started(
    variables: dict[str, str], folder: Path
) -> contextlib.AbstractContextManager[Contained]:
    command = json.loads(FILES.last("CMD"))
    return contained(command, FILES.last("WORKDIR"), variables, folder)


def url(one: Contained) -> str:
    found = re.search(r"running on http://0\.0\.0\.0:(\d+)", one.log)
    return f"http://127.0.0.1:{found[1]}" if found else ""


def ask(one: Contained, key: str) -> httpx.Response:
    return httpx.post(f"{url(one)}/reports", json={"company": "Aldermoor", "key": key}, timeout=90)


def test_the_probes_of_the_manifest_are_answered(running: Contained) -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = FILES.container[probe]["httpGet"]["path"]
        assert httpx.get(url(running) + path, timeout=30).status_code == 200


def test_it_can_write_to_tmp_and_nowhere_else(running: Contained) -> None:
    writable = {
        place
        for place, options in running.mounts().items()
        if "rw" in options and not place.startswith(("/dev", "/proc"))
    }
    assert writable == {"/tmp"}  # noqa: S108
    if os.geteuid() == 0:
        status = running.status()
        assert set(status["Uid"]) == set(status["Gid"]) == {str(USER)}
        assert set(status["CapEff"]) == {"0" * 16}


def test_customers_are_served_within_the_limits(running: Contained) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: ask(running, f"key-{n}"), range(40)))
    assert {answer.status_code for answer in answers} == {200}
    used = psutil.Process(running.process.pid).memory_info().rss / 2**20
    assert used < mebibytes(FILES.container["resources"]["limits"]["memory"])
    written = running.root / "tmp"
    assert (written / "crewai").is_dir()
    assert (written / ".local" / "share" / "crewai").is_dir(), "chapter 03: HOME, too"
    size = sum(path.stat().st_size for path in written.rglob("*") if path.is_file()) / 2**20
    print(f"{used:.0f} MiB of memory, {size:.1f} MiB in /tmp")
    (volume,) = FILES.pod["volumes"]
    assert size < mebibytes(volume["emptyDir"]["sizeLimit"]) / 4


def test_sigterm_ends_it_after_the_job_in_hand_and_within_the_grace_period(
    variables: dict[str, str], services: Services, tmp_path: Path
) -> None:
    services.model.configure(latency=2.0)
    services.model.reset()
    with started(variables, tmp_path) as one, ThreadPoolExecutor(1) as pool:
        one.wait_until(lambda: bool(url(one)) and '"message": "ready"' in one.log)
        answer = pool.submit(ask, one, "in-hand")
        one.wait_until(lambda: services.model.stats().total > 0 or answer.done())
        told = time.monotonic()
        one.process.terminate()
        assert answer.result(90).status_code == 200
        assert one.process.wait(90) in (0, -15)
        assert time.monotonic() - told < FILES.pod["terminationGracePeriodSeconds"]
        assert '"drained"' in one.log


@pytest.mark.parametrize(
    ("name", "place", "said"),
    [
        ("HOME", "/home/service", "Read-only file system: '/home"),
        ("CREWAI_STORAGE_DIR", "/var/crewai", "CREWAI_STORAGE_DIR: it cannot be written to"),
    ],
)
def test_without_a_writable_place_it_does_not_start_and_says_why(
    variables: dict[str, str], tmp_path: Path, name: str, place: str, said: str
) -> None:
    with started({**variables, name: place}, tmp_path) as one:
        assert one.process.wait(150) not in (0, None)
        assert said in one.log
