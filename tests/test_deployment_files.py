"""The deployment files of the take-home service: right in form, and in what they say together.

No image is built here and no cluster is asked: there is neither. What can be run is: the schemas of
Kubernetes and of compose, a linter for the Dockerfile, and, with CREWLAB_TEST=whole, the image's
command in a root of its own that is read-only (test_deployment_contained.py).
"""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import kubernetes_validate
import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import deployment_rules as rules
from tests.deployment_files import DEPLOY, ROOT, TEMPLATE, Files, service_settings

LINUX = sys.platform.startswith("linux")
HADOLINT = Path(sys.executable).with_name("hadolint")


@pytest.mark.parametrize("version", ["1.32.0", "1.37.0"])
def test_each_manifest_is_one_that_kubernetes_knows(version: str) -> None:
    manifests = Files(DEPLOY).manifests
    assert set(manifests) == {
        *("ConfigMap", "Deployment", "HorizontalPodAutoscaler"),
        *("PodDisruptionBudget", "Secret", "Service"),
    }
    for manifest in manifests.values():
        checked = kubernetes_validate.validate(manifest, version, strict=True)
        assert version.startswith(checked), "another version's schema was used"


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ("readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"),
        ("failureThreshold: 60", "failureThreshold: many"),
        ("terminationGracePeriodSeconds: 90", "gracePeriod: 90"),
    ],
)
def test_a_manifest_with_a_slip_is_none(tmp_path: Path, written: str, instead: str) -> None:
    files = changed(tmp_path, "kubernetes/deployment.yaml", written, instead)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(files.manifests["Deployment"], "1.37.0", strict=True)


def test_the_compose_file_is_one_and_with_a_slip_is_none(tmp_path: Path) -> None:
    assert compose_problems(DEPLOY) is None
    slip = changed(tmp_path, "compose.yaml", "read_only: true", "readonly: true")
    assert "readonly" in (compose_problems(slip.folder) or "")


def compose_problems(folder: Path) -> str | None:
    """Check compose.yaml with the schema that check-jsonschema carries: no network is asked."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, "compose.yaml"], cwd=folder, capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint has no wheel for this system")
def test_the_linter_finds_nothing_in_the_dockerfile(tmp_path: Path) -> None:
    assert dockerfile_problems(DEPLOY) == ""
    slip = changed(tmp_path, "Dockerfile", 'CMD ["python", "-m", "service"]', "CMD python")
    assert "DL3025" in dockerfile_problems(slip.folder)


def dockerfile_problems(folder: Path) -> str:
    """Have hadolint look at the Dockerfile, with no configuration of anybody's."""
    command = [str(HADOLINT), "--no-fail", "--config", os.devnull, "Dockerfile"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


Change = tuple[str, str, str]

DEPLOYMENT, COMPOSE = "kubernetes/deployment.yaml", "compose.yaml"
CONFIG, SECRET = "kubernetes/configmap.yaml", "kubernetes/once/secret.yaml"
SCALER, BUDGET = "kubernetes/autoscaler.yaml", "kubernetes/disruption-budget.yaml"
# What somebody might change (file, what is written there, what instead), by the rule that notices.
CHANGES: dict[Callable[[Files], None], list[Change]] = {
    rules.nobody_is_root: [
        ("Dockerfile", "USER 10001:10001", "USER 0:0"),
        ("Dockerfile", "USER 10001:10001", "USER service"),
        (DEPLOYMENT, "runAsNonRoot: true", "runAsNonRoot: false"),
        (DEPLOYMENT, "runAsUser: 10001", "runAsUser: 1000"),
        (DEPLOYMENT, "        fsGroup: 10001\n", ""),
        (COMPOSE, 'user: "10001:10001"', "user: root"),
    ],
    rules.nobody_gets_more_rights: [
        (DEPLOYMENT, "Escalation: false", "Escalation: true"),
        (DEPLOYMENT, "{drop: [ALL]}", "{add: [SYS_ADMIN]}"),
        (DEPLOYMENT, "Token: false", "Token: true"),
        (COMPOSE, "cap_drop: [ALL]", "privileged: true"),
    ],
    rules.the_root_is_read_only: [
        (DEPLOYMENT, "RootFilesystem: true", "RootFilesystem: false"),
        (COMPOSE, "    read_only: true\n", ""),
    ],
    rules.what_crewai_writes_to_is_writable_and_of_one_replica: [
        ("Dockerfile", "HOME=/tmp \\", "HOME=/home/service \\"),
        ("Dockerfile", "DIR=/tmp/crewai\n\n", "DIR=/var/crewai\n\n"),
        ("Dockerfile", "DIR=/tmp/crewai\n\n", "DIR=tmp/crewai\n\n"),
        (DEPLOYMENT, "mountPath: /tmp}", "mountPath: /data}"),
        (DEPLOYMENT, "emptyDir: {sizeLimit: 128Mi}", "hostPath: {path: /x}"),
        (CONFIG, "  SERVICE_BUCKET", "  HOME: /\n  SERVICE_BUCKET"),
        (COMPOSE, "- /tmp:size", "- /run:size"),
    ],
    rules.the_probes_ask_what_the_app_answers: [
        (DEPLOYMENT, "{path: /live, port: http}", "{path: /ready, port: http}"),
        (DEPLOYMENT, "{path: /live, port: http}", "{path: /healthz, port: http}"),
        (DEPLOYMENT, "containerPort: 8000", "containerPort: 8080"),
        ("Dockerfile", "SERVICE_PORT=8000", "SERVICE_PORT=8080"),
        ("Dockerfile", "SERVICE_HOST=0.0.0.0", "SERVICE_HOST=127.0.0.1"),
        (COMPOSE, "8000/ready", "8000/health"),
        ("kubernetes/service.yaml", "targetPort: http", "targetPort: 80"),
    ],
    rules.a_start_on_a_busy_node_has_time: [
        (DEPLOYMENT, "failureThreshold: 60", "failureThreshold: 10"),
        (DEPLOYMENT, "cpu: 500m", "cpu: 100m"),
        (DEPLOYMENT, "memory: 640Mi", "memory: 640Mi\n              cpu: 500m"),
        (DEPLOYMENT, "maxSurge: 1", "maxSurge: 100%"),
        (COMPOSE, "start_period: 120s", "start_period: 10s"),
    ],
    rules.who_is_slow_loses_its_customers_before_its_life: [
        (DEPLOYMENT, "failureThreshold: 6\n", "failureThreshold: 1\n"),
    ],
    rules.the_memory_is_what_was_measured_and_room: [
        (DEPLOYMENT, "memory: 384Mi", "memory: 128Mi"),
        (DEPLOYMENT, "memory: 640Mi", "memory: 384Mi"),
        (DEPLOYMENT, "sizeLimit: 128Mi", "medium: Memory, sizeLimit: 512Mi"),
        ("Dockerfile", "SERVICE_WORKERS=1", "SERVICE_WORKERS=2"),
        (COMPOSE, "memory: 768M", "memory: 512M"),
    ],
    rules.the_grace_period_is_longer_than_what_must_end_in_it: [
        (DEPLOYMENT, "PeriodSeconds: 90", "PeriodSeconds: 30"),
        (DEPLOYMENT, "seconds: 5", "seconds: 25"),
        (CONFIG, 'JOB_SECONDS: "60"', 'JOB_SECONDS: "120"'),
        (COMPOSE, "grace_period: 90s", "grace_period: 10s"),
    ],
    rules.sigterm_is_answered_at_once: [
        ("Dockerfile", 'CMD ["python", "-m"', 'CMD ["sh", "-c", "python", "-m"'),
        ("Dockerfile", "TELEMETRY=true", "TELEMETRY=false"),
        (COMPOSE, "init: true", "command: sleep 60"),
    ],
    rules.every_variable_that_is_needed_is_supplied: [
        (CONFIG, "SERVICE_BUCKET", "BUCKET"),
        (SECRET, "OPENAI_API_KEY", "OPENAI_KEY"),
        (COMPOSE, "      AWS_DEFAULT_REGION:\n", ""),
        ("Dockerfile", "CREWAI_STORAGE_DIR=/tmp/crewai\n\n", "X=1\n\n"),
    ],
    rules.every_variable_is_one_that_somebody_reads: [
        (CONFIG, "SERVICE_KICKOFFS:", "SERVICE_KICKOFS:"),
        ("Dockerfile", "CREWAI_DISABLE_T", "CREWAI_DISABLED_T"),
        (COMPOSE, "SERVICE_JOB_SECONDS:", "SERVICE_JOB_SECOND:"),
    ],
    rules.no_file_holds_a_secret: [
        (SECRET, 'OPENAI_API_KEY: ""', "OPENAI_API_KEY: sesame"),
        (COMPOSE, "${OPENAI_API_KEY:?set it in your shell}", "sesame"),
        ("Dockerfile", "EXPOSE", "ENV OPENAI_API_KEY=sesame\nEXPOSE"),
        ("Dockerfile", "EXPOSE", "ARG OPENAI_API_KEY\nEXPOSE"),
        (CONFIG, "\ndata:\n", "\ndata:\n  OPENAI_API_KEY: sesame\n"),
        ("Dockerfile.dockerignore", "*\n!service", "!service"),
    ],
    rules.a_secret_that_is_filled_is_not_replaced: [
        (SECRET, "kubectl create --", "kubectl apply --"),
        (CONFIG, "kind: ConfigMap", "kind: Secret"),
    ],
    rules.all_that_select_replicas_select_these: [
        (BUDGET, "matchLabels: {app.kubernetes.io/name: r", "matchLabels: {a: r"),
        ("kubernetes/service.yaml", "selector: {app", "selector: {appl"),
        (SCALER, "    name: report-service\n  min", "    name: report\n  min"),
        (DEPLOYMENT, "spec:\n  # No", "spec:\n  replicas: 2\n  # No"),
    ],
    rules.one_replica_can_always_be_taken_away: [
        (SCALER, "minReplicas: 2", "minReplicas: 1"),
        (BUDGET, "maxUnavailable: 1", "maxUnavailable: 0"),
    ],
    rules.scaling_does_not_follow_the_memory: [
        (SCALER, "name: cpu", "name: memory"),
        (SCALER, "value: 1, periodSeconds: 30", "value: 5, periodSeconds: 30"),
    ],
    rules.all_replicas_together_keep_to_the_quota: [
        (SCALER, "maxReplicas: 5", "maxReplicas: 20"),
        (CONFIG, 'KICKOFFS: "4"', 'KICKOFFS: "24"'),
        (DEPLOYMENT, "maxSurge: 1", "maxSurge: 3"),
        ("Dockerfile", "SERVICE_WORKERS=1", "SERVICE_WORKERS=4"),
    ],
    rules.the_image_is_one_version_of_one_thing: [
        (DEPLOYMENT, "report-service:0.1.0", "report-service:latest"),
        ("Dockerfile", "slim-bookworm AS build", "slim-trixie AS build"),
    ],
    rules.what_is_installed_is_pinned_and_precompiled: [
        ("Dockerfile", " --require-hashes", ""),
        ("Dockerfile", "import uvicorn, service.crew", "import uvicorn"),
    ],
    rules.each_line_that_a_chapter_taught_names_it: [
        (DEPLOYMENT, "# Chapter 08: for a process", "# For a process"),
        (COMPOSE, "# Chapter 03: a replica's", "# Chapter 04: a replica's"),
    ],
    rules.each_chapter_that_is_named_exists: [
        (SCALER, "# Chapter 05: the number", "# Chapter 77: the number"),
    ],
}


@pytest.mark.parametrize("rule", CHANGES, ids=lambda rule: rule.__name__)
def test_the_files_keep_the_rule(rule: Callable[[Files], None]) -> None:
    rule(Files(DEPLOY))


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        pytest.param(rule, change, id=f"{rule.__name__}: {change[2]}")
        for rule, changes in CHANGES.items()
        for change in changes
    ],
)
def test_a_change_that_breaks_a_rule_is_noticed(
    tmp_path: Path, rule: Callable[[Files], None], change: Change
) -> None:
    files = changed(tmp_path, *change)
    with pytest.raises((AssertionError, KeyError)):
        rule(files)


def test_each_rule_has_a_change_that_breaks_it() -> None:
    defined = {
        function
        for name, function in vars(rules).items()
        if inspect.isfunction(function) and function.__module__ == rules.__name__
    }
    assert defined == set(CHANGES)


def changed(folder: Path, file: str, written: str, instead: str) -> Files:
    """Give a copy of the files with one thing changed, which must be there once."""
    copy = folder / "deploy"
    shutil.copytree(DEPLOY, copy, ignore=shutil.ignore_patterns("requirements.txt"))
    text = (copy / file).read_text(encoding="utf-8")
    assert text.count(written) == 1, f"{written!r} is there {text.count(written)} times"
    (copy / file).write_text(text.replace(written, instead), encoding="utf-8")
    return Files(copy)


def test_the_service_refuses_to_start_with_what_is_still_to_be_filled_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in Files(DEPLOY).cluster_variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path))
    with pytest.raises(service_settings().NotConfigured) as refused:
        service_settings().load()
    lines = str(refused.value).splitlines()[1:]
    assert {line.split(":")[0].strip() for line in lines} == {"OPENAI_API_KEY", "SERVICE_BUCKET"}
    for name in ("OPENAI_API_KEY", "SERVICE_BUCKET"):
        monkeypatch.setenv(name, "filled-in")
    assert service_settings().load().service_kickoffs == 4


def pins(path: Path) -> dict[str, set[tuple[str, frozenset[str]]]]:
    """Give each package of a lock with its versions and the hashes of each."""
    found: dict[str, set[tuple[str, frozenset[str]]]] = {}
    entries = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    for line in entries:
        if line[:1].isalnum():
            pin, *hashes = line.split(" --hash=")
            requirement = Requirement(pin.strip())
            named = found.setdefault(canonicalize_name(requirement.name), set())
            named.add((str(requirement.specifier), frozenset(text.strip() for text in hashes)))
    return found


def test_the_image_has_the_versions_that_the_course_runs_with() -> None:
    image, course = pins(DEPLOY / "requirements.txt"), pins(ROOT / "requirements.lock")
    for name, versions in image.items():
        ((version, hashes),) = versions
        assert version.startswith("=="), name
        assert hashes, name
        assert (version, hashes) in course.get(name, set()), f"{name}: run `make lock`"


@pytest.mark.skipif(not LINUX, reason="other packages are installed on another system")
def test_the_image_has_all_that_the_service_imports_and_no_more() -> None:
    image = pins(DEPLOY / "requirements.txt")
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    there: dict[str, str] = {**default_environment()} | {
        "python_version": "3.12",
        "python_full_version": "3.12.12",
    }
    asked = [Requirement(text) for text in project["dependencies"]]
    seen: set[tuple[str, str]] = set()
    while asked:
        requirement = asked.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                asked += pulled_in(name, {**there, "extra": extra})
    assert {name for name, _ in seen} == set(image), "run `make lock`"


def pulled_in(name: str, there: dict[str, str]) -> list[Requirement]:
    """Give what a package requires there; nothing if it is not installed for this Python."""
    try:
        required = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    requirements = [Requirement(text) for text in required]
    return [one for one in requirements if one.marker is None or one.marker.evaluate(there)]


def test_the_readme_says_what_was_never_run() -> None:
    readme = (TEMPLATE / "README.md").read_text(encoding="utf-8")
    _, _, section = readme.partition("## Deploy it")
    for words in ("No image was built", "no cluster", "deploy/Dockerfile", "deploy/compose.yaml"):
        assert words in " ".join(section.split())
    for name in Files(DEPLOY).names:
        assert f"deploy/{name}" in section or Path(name).parent.name == "kubernetes", name
