"""What the deployment files say, read as plain data for the rules in deployment_rules.py."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template"
DEPLOY = TEMPLATE / "deploy"


def service_settings() -> ModuleType:
    """Give the template's settings module; it imports no crewai."""
    name = "template_service_settings"
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, TEMPLATE / "service" / "settings.py")
        assert found is not None and found.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(found)
        found.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def routes() -> set[str]:
    """Give the paths that the app answers GET at, without importing it."""
    tree = ast.parse((TEMPLATE / "service" / "app.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        str(ast.literal_eval(call.args[0]))
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "Route" and not call.keywords
    }


def seconds(text: str) -> float:
    """Read a duration of compose: a number and a unit."""
    found = re.fullmatch(r"(\d+)(s|m)", text)
    assert found is not None, text
    return int(found[1]) * {"s": 1, "m": 60}[found[2]]


def mebibytes(text: str) -> float:
    """Read an amount of memory, Kubernetes' (Mi, Gi) or compose's (M is 1024 x 1024 there)."""
    found = re.fullmatch(r"(\d+)(Mi|Gi|M|m|g|G)", text)
    assert found is not None, text
    return int(found[1]) * (1024 if found[2][0] in "gG" else 1)


def cores(text: str) -> float:
    """Read an amount of processor."""
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


@dataclass
class Files:
    """One folder of deployment files.

    Attributes:
        folder: the folder; a copy of the template's, when a test has changed something in it.
    """

    folder: Path

    def text(self, name: str) -> str:
        """Give a file as it is."""
        return (self.folder / name).read_text(encoding="utf-8")

    @cached_property
    def names(self) -> list[str]:
        """The files that people write; requirements.txt is made."""
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        named = sorted(path.relative_to(self.folder).as_posix() for path in paths)
        return [name for name in named if name != "requirements.txt"]

    @cached_property
    def manifests(self) -> dict[str, dict[str, Any]]:
        """The Kubernetes objects by their kind."""
        files = [name for name in self.names if name.startswith("kubernetes/")]
        objects = [thing for name in files for thing in yaml.safe_load_all(self.text(name))]
        assert len({thing["kind"] for thing in objects}) == len(objects)
        return {thing["kind"]: thing for thing in objects}

    @cached_property
    def pod(self) -> dict[str, Any]:
        """The Deployment's pod, from its spec on."""
        spec: dict[str, Any] = self.manifests["Deployment"]["spec"]["template"]["spec"]
        return spec

    @cached_property
    def container(self) -> dict[str, Any]:
        """The pod's one container."""
        (one,) = self.pod["containers"]
        assert isinstance(one, dict)
        return one

    @cached_property
    def composed(self) -> dict[str, Any]:
        """The one service of compose.yaml."""
        (one,) = yaml.safe_load(self.text("compose.yaml"))["services"].values()
        assert isinstance(one, dict)
        return one

    @cached_property
    def instructions(self) -> list[tuple[str, str]]:
        """The Dockerfile's instructions, each in one line, without comments."""
        lines = [line for line in self.text("Dockerfile").splitlines() if line[:1] != "#"]
        joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
        pairs = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
        return [(word.upper(), rest) for word, rest in pairs]

    @cached_property
    def last_stage(self) -> list[tuple[str, str]]:
        """The instructions of what is deployed."""
        start = max(n for n, (word, _) in enumerate(self.instructions) if word == "FROM")
        return self.instructions[start:]

    def last(self, word: str) -> str:
        """Give what the last instruction of a kind says."""
        return [rest for name, rest in self.last_stage if name == word][-1]

    @cached_property
    def image_variables(self) -> dict[str, str]:
        """What the image sets in the environment."""
        said = " ".join(rest for word, rest in self.last_stage if word == "ENV")
        return dict(re.findall(r"(\w+)=(\S+)", said))

    @cached_property
    def cluster_variables(self) -> dict[str, str]:
        """What a container in the cluster has in its environment."""
        given = dict(self.image_variables)
        for source in self.container["envFrom"]:
            (reference, where) = next(iter(source.items()))
            kind = {"configMapRef": "ConfigMap", "secretRef": "Secret"}[reference]
            assert self.manifests[kind]["metadata"]["name"] == where["name"]
            given |= self.manifests[kind]["data" if kind == "ConfigMap" else "stringData"]
        return given

    @cached_property
    def compose_variables(self) -> dict[str, str | None]:
        """What a container of compose has in its environment."""
        return {**self.image_variables, **self.composed["environment"]}

    def settings_of(self, variables: dict[str, Any]) -> Any:
        """Give the service's settings in such an environment; what is to be filled in is."""
        settings = service_settings().Settings
        given = {name: variables.get(name.upper(), "") for name in settings.model_fields}
        filled = {
            name: value if value and "$" not in value else "filled-in"
            for name, value in given.items()
            if name.upper() in variables
        }
        return settings(**filled | {"crewai_storage_dir": tempfile.gettempdir()})
