"""What plays a container: an image with the app in it, and for each start a disk of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from crewlab.deployment.plan import Environment, Plan, ReplicaPlan

DISK = ("work", "tmp", "home")
OWN_FOLDER = "$(TMPDIR)"
"""In an environment's value: the container's own temporary folder, in Kubernetes' notation."""

NOBODY = Path(__file__).with_name("nobody.pem")
"""One certificate whose key was thrown away: who trusts it alone trusts nobody.

Each ``LLM()`` makes two TLS clients, and each of them reads some 120 certificate authorities: 40
to 75 ms of CPU together (crewai 1.15.30, openai 2.54.0), half of a short kickoff. What is on this
machine is reached without TLS, so replicas that are led nowhere else read this one instead.
"""

GRAMMAR = "rfc3987_syntax"
"""A module that Jupyter brings. jsonschema imports it where it is there, and CrewAI jsonschema.

It builds a grammar of international addresses, which nobody here uses, each time that it is
imported: 0.9 to 1.5 of the 4.0 to 4.4 s that ``import crewai`` takes (rfc3987-syntax 1.1.0, crewai
1.15.30), and 1.5 s in each of Ray's processes. The image of a service has no Jupyter in it.
"""

_ADDRESSES = ("OPENAI_BASE_URL", "SERPER_BASE_URL", "AWS_ENDPOINT_URL_S3")


def make_image(plan: Plan, run_folder: Path) -> None:
    """Copy the app into the run's folder, so that an edit meanwhile changes no running replica."""
    _image(run_folder).mkdir()
    shutil.copy(plan.app.path, _image(run_folder) / f"{plan.app.name}.py")
    leave_jupyter_out(_image(run_folder))


def leave_jupyter_out(image: Path) -> None:
    """Let a process import as it would where the course's Jupyter is not installed.

    Args:
        image: a folder that comes first on its path.
    """
    (image / f"{GRAMMAR}.py").write_text(
        'raise ImportError("an image has no Jupyter in it")\n', encoding="utf-8"
    )


def make_container(plan: Plan, run_folder: Path, name: str, env: Environment) -> ReplicaPlan:
    """Make the disk of one start of one replica.

    Args:
        plan: the deployment.
        run_folder: the run's temporary folder, with the image in it.
        name: the replica's name.
        env: what its environment differs in from this process's; None takes a variable away.
            ``OWN_FOLDER`` is filled in.

    Returns:
        What the replica needs to know.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=run_folder))
    for part in DISK:
        (folder / part).mkdir()
    for file, text in plan.files.items():
        path = folder / "work" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    places = {"HOME": folder / "home"} | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder / "tmp")
    variables: dict[str, str | None] = {
        **os.environ,
        **{variable: str(place) for variable, place in places.items()},
        "XDG_DATA_HOME": None,
        "PYTHONUNBUFFERED": "1",
        **env,
    }
    for variable, value in env.items():
        if value and OWN_FOLDER in value:
            variables[variable] = value.replace(OWN_FOLDER, str(folder / "tmp"))
    if "SSL_CERT_FILE" not in env:
        variables |= certificates_for(variables)
    return ReplicaPlan(
        name=name,
        app_name=plan.app.name,
        app_folder=(str(_image(run_folder)), str(plan.app.path.parent)),
        folder=folder,
        log=folder / "log.txt",
        env={variable: value for variable, value in variables.items() if value is not None},
        threads=plan.threads,
        read_only=plan.read_only,
        drain=plan.drain,
        cores=plan.cores,
    )


def certificates_for(variables: Environment) -> dict[str, str]:
    """Spare an app the certificate authorities if all it is led to is on this machine.

    What the machine itself sets gives way: else every kickoff on such a machine would cost more
    than on others.

    Args:
        variables: its environment.

    Returns:
        The variable to set, if any.
    """
    led_to = [variables.get(name) or "" for name in _ADDRESSES]
    if not led_to[0].startswith("http://127.0.0.1:") or any("https:" in url for url in led_to):
        return {}
    return {"SSL_CERT_FILE": str(NOBODY)}


def _image(run_folder: Path) -> Path:
    return run_folder / "image"
