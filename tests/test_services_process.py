"""The child process of the local services: how it starts, dies, comes back and ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from crewlab import services as package
from crewlab.services import Services, ServicesError, current, start
from crewlab.services.environment import environment_for, model_is_yours
from tests.services_tools import become_true

PORTS = {"model": 1001, "search": 1002, "storage": 1003}
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX processes and signals")


def python(script: str, **how: object) -> subprocess.Popen[str]:
    """Run a script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, **how
    )


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_the_parent_imports_nothing_heavy() -> None:
    script = (
        "import sys, crewlab.services as s; s.start().stop();"
        "print([m for m in ('aiohttp', 'boto3', 'moto', 'openai', 'crewai') if m in sys.modules])"
    )
    output, _ = python(script).communicate(timeout=30)
    assert output.strip() == "[]"


def test_starting_twice_gives_the_same_services(services: Services) -> None:
    found: list[Services] = []
    threads = [threading.Thread(target=lambda: found.append(start())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {services}
    assert current() is services
    assert services.ensure() is None


def test_the_child_listens_on_the_loopback_interface_only(services: Services) -> None:
    services.model.stats()  # so that it serves for certain
    listening = [
        connection.laddr
        for connection in psutil.Process(services.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert {address.port for address in listening} == set(services.ports.values())


@posix_only
def test_an_interrupt_of_the_notebook_does_not_reach_the_child(services: Services) -> None:
    assert os.getsid(services.pid) == services.pid != os.getsid(0)
    os.kill(services.pid, signal.SIGINT)
    assert services.model.stats().in_flight == 0
    assert services.ensure() is None


@posix_only
def test_a_killed_child_comes_back_on_the_same_ports_with_its_settings(services: Services) -> None:
    services.model.configure(latency=0, errors={1: 503})
    ports = dict(services.ports)
    kill(services)
    with pytest.raises(ServicesError, match="do not answer"):
        services.model.stats()
    assert services.ensure() == (
        "The local services had stopped (exit code -9); they were restarted on the same ports. "
        "Their counters and stored objects are empty again."
    )
    assert services.ensure() is None
    assert services.ports == ports
    assert chat_status(services) == 503


def test_a_restart_by_start_is_still_reported(services: Services) -> None:
    kill(services)
    assert start() is services
    assert "restarted" in str(services.ensure())


def test_a_port_taken_meanwhile_is_named(services: Services) -> None:
    kill(services)
    port = services.ports["search"]
    with socket.socket() as other:
        if os.name == "posix":
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ServicesError) as raised:
            services.ensure()
    assert f"cannot use port {port}" in str(raised.value).splitlines()[0]
    assert len(str(raised.value).splitlines()) <= 3
    assert "restarted" in str(services.ensure())  # now that the port is free again


def kill(services: Services) -> None:
    psutil.Process(services.pid).kill()
    assert become_true(lambda: not services.is_running())


def chat_status(services: Services) -> int:
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", services.ports["model"], timeout=10)
    with contextlib.closing(connection):
        body = {"model": "m", "messages": [{"role": "user", "content": "U1"}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        return connection.getresponse().status


START = "import crewlab.services as s, os, sys, time; v = s.start(); print(v.pid, flush=True); "


@pytest.mark.parametrize("ending", ["", "os._exit(1)", "raise SystemExit(3)", "1 / 0"])
def test_the_child_ends_with_its_parent(ending: str) -> None:
    parent = python(START + ending, stderr=subprocess.DEVNULL)
    child = int(parent.communicate(timeout=30)[0])
    assert become_true(lambda: is_gone(child))


@posix_only
def test_a_parent_killed_outright_leaves_no_child() -> None:
    # A forked child of the parent lives on, as a worker would, and must not keep it alive either.
    script = START + "fork = os.fork(); fork and print(fork, flush=True); time.sleep(60)"
    with python(script) as parent:
        assert parent.stdout is not None
        child, fork = int(parent.stdout.readline()), int(parent.stdout.readline())
        parent.kill()
        try:
            assert become_true(lambda: is_gone(child))
        finally:
            os.kill(fork, signal.SIGKILL)


@posix_only
def test_a_forked_child_leaves_its_parents_services_alone(services: Services) -> None:
    pid = os.fork()
    if pid == 0:
        forgotten = current() is None
        services.stop()
        silent = services.ensure() is None
        os._exit(0 if forgotten and silent else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert services.is_running()
    assert services.model.stats().in_flight == 0


def test_stopping_leaves_no_process_and_can_be_repeated() -> None:
    script = START + (
        "v.stop(); v.stop(); print(s.current()); import psutil;"
        "print(psutil.Process().children(), len(__import__('threading').enumerate()))"
    )
    output, _ = python(script).communicate(timeout=30)
    assert output.splitlines()[1:] == ["None", "[] 1"]


def test_a_file_of_the_learners_does_not_shadow_a_library(tmp_path: Path) -> None:
    for name in ("json", "aiohttp", "socket"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    script = "import sys; sys.path.pop(0);" + START + "print(v.model.stats().total, repr(v.log()))"
    output, _ = python(script, cwd=tmp_path).communicate(timeout=30)
    assert output.splitlines()[1] == "0 ''"


def test_a_child_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from crewlab.services import process

    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(ServicesError, match="did not start") as raised:
        process.ServiceProcess("token", {})
    assert len(str(raised.value).splitlines()) <= 3


def test_the_environment_leads_to_the_local_services() -> None:
    given = environment_for(PORTS, {})
    assert given["OPENAI_BASE_URL"] == "http://127.0.0.1:1001/v1"
    assert given["SERPER_BASE_URL"] == "http://127.0.0.1:1002"
    assert given["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:1003"
    assert given["OPENAI_API_KEY"].startswith("local-")
    assert given["SERPER_API_KEY"] and given["AWS_SECRET_ACCESS_KEY"]
    assert given["CREWAI_DISABLE_TELEMETRY"] == given["CREWAI_DISABLE_VERSION_CHECK"] == "true"
    assert given["NO_PROXY"] == given["no_proxy"] == "127.0.0.1,localhost"


def test_a_model_of_the_learners_own_is_kept_if_address_and_key_are_set() -> None:
    own = {"OPENAI_BASE_URL": "https://models.example/v1", "OPENAI_API_KEY": "sk-mine"}
    assert model_is_yours(own)
    assert environment_for(PORTS, own).items() >= own.items()
    key_alone = {"OPENAI_API_KEY": "sk-mine", "SERPER_API_KEY": "mine", "OPENAI_BASE_URL": ""}
    assert not model_is_yours(key_alone)
    given = environment_for(PORTS, key_alone)
    assert given["OPENAI_BASE_URL"] == "http://127.0.0.1:1001/v1"
    assert given["SERPER_BASE_URL"] == "http://127.0.0.1:1002"
    assert "sk-mine" not in given.values()


def test_what_a_kernel_set_for_its_apps_is_not_taken_for_the_learners_own() -> None:
    inherited = environment_for(PORTS, {"NO_PROXY": "intranet"})
    again = environment_for({"model": 1, "search": 2, "storage": 3}, inherited)
    assert again["OPENAI_BASE_URL"] == "http://127.0.0.1:1/v1"
    assert again["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:3"
    assert again["NO_PROXY"] == "intranet,127.0.0.1,localhost"


def test_other_names_of_the_models_address_do_not_lead_astray() -> None:
    given = environment_for(PORTS, {"OPENAI_API_BASE": "https://api.example/v1"})
    assert given["OPENAI_API_BASE"] == given["OPENAI_BASE_URL"]


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = package.nonsense
