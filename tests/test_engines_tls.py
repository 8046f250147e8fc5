"""A broker that speaks TLS: Debian's redis-server, with a certificate made for the test."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crewlab import App
from crewlab.engines import brokers, celery
from crewlab.errors import ToldOSError
from crewlab.services import Services
from tests.hosts import can_fork, free_port
from tests.services_tools import become_true

REDIS, OPENSSL = shutil.which("redis-server"), shutil.which("openssl")

pytestmark = [
    pytest.mark.skipif(not (REDIS and OPENSSL), reason="needs redis-server and openssl"),
    can_fork,
]

APP = """
import os


def run(inputs):
    import redis

    redis.Redis.from_url(os.environ["REDIS_URL"]).ping()
    return f"Report on {inputs['company']}"
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for this machine that only those trust who name it."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(str(OPENSSL), "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=broker"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return folder / "certificate.pem"


@pytest.fixture(scope="module")
def address(services: Services, authority: Path) -> Iterator[str]:
    """Give host and port of a broker that speaks nothing but TLS."""
    port = free_port()
    server = subprocess.Popen(
        [
            *(str(REDIS), "--bind", "127.0.0.1", "--port", "0", "--tls-port", str(port)),
            *("--tls-cert-file", str(authority), "--tls-ca-cert-file", str(authority)),
            *("--tls-key-file", str(authority.with_name("key.pem")), "--tls-auth-clients", "no"),
            *("--save", "", "--dir", str(authority.parent)),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        there = brokers.Broker(f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority}", "REDIS_URL")
        assert become_true(there.answers)
        there.stop()
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("more", ["", "&ssl_cert_reqs=required"])
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_jobs_go_through_a_broker_with_tls_also_if_only_its_authority_is_named(
    make: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    authority: Path,
    pool: str,
    more: str,
) -> None:
    monkeypatch.setenv("REDIS_URL", f"rediss://{address}/0?ssl_ca_certs={authority}{more}")
    run = celery(App.from_file(make(APP)), pool=pool, replicas=2, requests=4)
    run.expect(ok="all")


@pytest.mark.parametrize(
    ("scheme", "says"), [("rediss", r"add \?ssl_ca_certs=ca\.pem"), ("redis", r"TLS \(rediss://\)")]
)
def test_a_certificate_nobody_vouches_for_or_no_tls_at_all_is_told(
    address: str, scheme: str, says: str
) -> None:
    with pytest.raises(ToldOSError, match=says):
        brokers.at(f"{scheme}://{address}/0")


def test_a_check_that_is_turned_off_stays_off(address: str) -> None:
    broker = brokers.at(f"rediss://{address}/0?ssl_cert_reqs=none")
    try:
        assert broker.url.endswith("?ssl_cert_reqs=none")
    finally:
        broker.stop()
