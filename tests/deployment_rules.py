"""Rules that the deployment files of the take-home service keep; each is told by its name.

The measured figures are those that chapters 03, 07 and 09 measure again on each machine.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import re
import tomllib
from pathlib import Path

from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES as BOTOCORE
from botocore.credentials import EnvProvider

from tests.deployment_files import (
    ROOT,
    TEMPLATE,
    Files,
    cores,
    mebibytes,
    routes,
    seconds,
    service_settings,
)

SERVING = 310  # MiB, at most, of one process that serves
IMPORTING = 7  # s of one core for `import crewai`, at most
HEAD_ROOM = 1.25  # chapter 07: and add a quarter
SEVERAL_TIMES = 4  # chapter 07: several times the start-up that was measured
WORDS_OF_SECRETS = re.compile(r"KEY|SECRET|TOKEN|PASSWORD")

# Line of a file, and the chapter that must stand in the comment at it or right above it.
TAUGHT = [
    ("Dockerfile", "COPY deploy/requirements.txt", "01"),
    ("Dockerfile", "COPY service service", "06"),
    ("Dockerfile", "COPY service service", "07"),
    ("Dockerfile", "ENV PATH=", "03"),
    ("Dockerfile", "ENV CREWAI_DISABLE_TELEMETRY", "09"),
    ("Dockerfile", "ENV SERVICE_HOST", "02"),
    ("Dockerfile", "CMD ", "09"),
    ("compose.yaml", "OPENAI_API_KEY:", "02"),
    ("compose.yaml", "SERVICE_KICKOFFS:", "05"),
    ("compose.yaml", "SERVICE_JOB_SECONDS:", "08"),
    ("compose.yaml", "read_only:", "03"),
    ("compose.yaml", "init:", "09"),
    ("compose.yaml", "deploy:", "07"),
    ("compose.yaml", "healthcheck:", "02"),
    ("kubernetes/once/secret.yaml", "apiVersion:", "02"),
    ("kubernetes/configmap.yaml", "report-service/quota:", "05"),
    ("kubernetes/configmap.yaml", "SERVICE_BUCKET:", "02"),
    ("kubernetes/configmap.yaml", "SERVICE_KICKOFFS:", "05"),
    ("kubernetes/configmap.yaml", "SERVICE_JOB_SECONDS:", "08"),
    ("kubernetes/deployment.yaml", "maxSurge:", "07"),
    ("kubernetes/deployment.yaml", "terminationGracePeriodSeconds:", "09"),
    ("kubernetes/deployment.yaml", "envFrom:", "02"),
    ("kubernetes/deployment.yaml", "readOnlyRootFilesystem:", "03"),
    ("kubernetes/deployment.yaml", "- {name: tmp, mountPath", "03"),
    ("kubernetes/deployment.yaml", "cpu:", "07"),
    ("kubernetes/deployment.yaml", "memory: 384Mi", "07"),
    ("kubernetes/deployment.yaml", "memory: 640Mi", "07"),
    ("kubernetes/deployment.yaml", "startupProbe:", "07"),
    ("kubernetes/deployment.yaml", "readinessProbe:", "02"),
    ("kubernetes/deployment.yaml", "livenessProbe:", "08"),
    ("kubernetes/deployment.yaml", "preStop:", "09"),
    ("kubernetes/service.yaml", "selector:", "03"),
    ("kubernetes/autoscaler.yaml", "maxReplicas:", "05"),
    ("kubernetes/autoscaler.yaml", "- type: Resource", "07"),
    ("kubernetes/autoscaler.yaml", "policies: [{type: Pods, value: 1, periodSeconds: 30", "07"),
    ("kubernetes/autoscaler.yaml", "policies: [{type: Pods, value: 1, periodSeconds: 120", "09"),
    ("kubernetes/disruption-budget.yaml", "maxUnavailable:", "09"),
]


def nobody_is_root(files: Files) -> None:
    user, _, group = files.last("USER").partition(":")
    assert user.isdigit() and group.isdigit() and int(user) > 0 < int(group)
    assert files.composed["user"] == f"{user}:{group}"
    rights = files.pod["securityContext"]
    assert rights["runAsNonRoot"] is True
    assert (rights["runAsUser"], rights["runAsGroup"]) == (int(user), int(group))
    assert rights["fsGroup"] == int(group), "it must be able to write to the volume"
    assert "runAsUser" not in files.container["securityContext"]


def nobody_gets_more_rights(files: Files) -> None:
    rights = files.container["securityContext"]
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert not rights.get("privileged")
    assert files.pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert files.pod["automountServiceAccountToken"] is False
    assert files.composed["cap_drop"] == ["ALL"]
    assert files.composed["security_opt"] == ["no-new-privileges:true"]
    assert not files.composed.get("privileged")


def the_root_is_read_only(files: Files) -> None:
    assert files.container["securityContext"]["readOnlyRootFilesystem"] is True
    assert files.composed["read_only"] is True


def what_crewai_writes_to_is_writable_and_of_one_replica(files: Files) -> None:
    volumes = {volume["name"]: volume for volume in files.pod["volumes"]}
    mounted = {}
    for mount in files.container["volumeMounts"]:
        assert not mount.get("readOnly")
        mounted[mount["mountPath"]] = volumes[mount["name"]]
    assert all("emptyDir" in volume for volume in mounted.values()), "replicas would share it"
    in_memory = [Path(entry.partition(":")[0]) for entry in files.composed["tmpfs"]]
    needed = [files.image_variables["HOME"], files.image_variables["CREWAI_STORAGE_DIR"], "/tmp"]  # noqa: S108
    for folder in map(Path, needed):
        assert folder.is_absolute()
        for places in (in_memory, [Path(path) for path in mounted]):
            assert any(folder.is_relative_to(place) for place in places), folder
    for variables in (files.cluster_variables, files.compose_variables):
        for name in ("HOME", "CREWAI_STORAGE_DIR"):
            assert variables[name] == files.image_variables[name]


def the_probes_ask_what_the_app_answers(files: Files) -> None:
    assert {"/live", "/ready"} <= routes()
    ports = {port["name"]: port["containerPort"] for port in files.container["ports"]}
    asked = {"startupProbe": "/ready", "readinessProbe": "/ready", "livenessProbe": "/live"}
    for probe, path in asked.items():
        assert files.container[probe]["httpGet"] == {"path": path, "port": "http"}
    served = int(files.cluster_variables["SERVICE_PORT"])
    assert ports == {"http": served}
    assert files.last("EXPOSE") == str(served)
    assert files.cluster_variables["SERVICE_HOST"] == "0.0.0.0"  # noqa: S104
    (port,) = files.manifests["Service"]["spec"]["ports"]
    assert port["targetPort"] == "http"
    (published,) = files.composed["ports"]
    assert published == f"127.0.0.1:{served}:{served}"
    assert f"'http://127.0.0.1:{served}/ready'" in files.composed["healthcheck"]["test"][-1]


def a_start_on_a_busy_node_has_time(files: Files) -> None:
    probe = files.container["startupProbe"]
    alone = IMPORTING / cores(files.container["resources"]["requests"]["cpu"])
    assert probe["periodSeconds"] * probe["failureThreshold"] >= SEVERAL_TIMES * alone
    assert "cpu" not in files.container["resources"]["limits"]
    assert seconds(files.composed["healthcheck"]["start_period"]) >= SEVERAL_TIMES * IMPORTING
    rolling = files.manifests["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}


def who_is_slow_loses_its_customers_before_its_life(files: Files) -> None:
    patience = {
        name: files.container[name]["periodSeconds"] * files.container[name]["failureThreshold"]
        for name in ("readinessProbe", "livenessProbe")
    }
    assert patience["livenessProbe"] >= 30
    assert patience["readinessProbe"] < patience["livenessProbe"]


def the_memory_is_what_was_measured_and_room(files: Files) -> None:
    workers = int(files.cluster_variables["SERVICE_WORKERS"])
    requested = mebibytes(files.container["resources"]["requests"]["memory"])
    limit = mebibytes(files.container["resources"]["limits"]["memory"])
    on_disk = mebibytes("0Mi")
    for volume in files.pod["volumes"]:
        size = mebibytes(volume["emptyDir"]["sizeLimit"])
        on_disk += size if volume["emptyDir"].get("medium") == "Memory" else 0
    assert requested >= SERVING * workers
    assert limit >= HEAD_ROOM * SERVING * workers + on_disk
    in_memory = sum(
        mebibytes(re.findall(r"size=(\w+)", entry)[0]) for entry in files.composed["tmpfs"]
    )
    composed = mebibytes(files.composed["deploy"]["resources"]["limits"]["memory"])
    assert composed >= HEAD_ROOM * SERVING * workers + in_memory


def the_grace_period_is_longer_than_what_must_end_in_it(files: Files) -> None:
    main = (TEMPLATE / "service" / "__main__.py").read_text(encoding="utf-8")
    assert "timeout_graceful_shutdown=math.ceil(settings.service_job_seconds)" in main
    waits = int(files.container["lifecycle"]["preStop"]["sleep"]["seconds"])
    assert waits > 0
    for variables, grace in (
        (files.cluster_variables, files.pod["terminationGracePeriodSeconds"] - waits),
        (files.compose_variables, seconds(files.composed["stop_grace_period"])),
    ):
        job = math.ceil(files.settings_of(variables).service_job_seconds)
        assert grace >= job + 10


def sigterm_is_answered_at_once(files: Files) -> None:
    command = json.loads(files.last("CMD"))
    assert command == ["python", "-m", "service"]
    assert not {"command", "args"} & set(files.container)
    assert not {"command", "entrypoint"} & set(files.composed)
    assert files.composed["init"] is True
    for variables in (files.cluster_variables, files.compose_variables):
        for switch in ("CREWAI_DISABLE_TELEMETRY", "OTEL_SDK_DISABLED"):
            assert variables[switch] == "true"


def every_variable_that_is_needed_is_supplied(files: Files) -> None:
    fields = service_settings().Settings.model_fields
    needed = {name.upper() for name, field in fields.items() if field.is_required()}
    needed |= {EnvProvider.ACCESS_KEY, EnvProvider.SECRET_KEY, "AWS_DEFAULT_REGION"}
    assert needed <= set(files.cluster_variables)
    assert needed <= set(files.compose_variables)


def every_variable_is_one_that_somebody_reads(files: Files) -> None:
    known = {name.upper() for name in service_settings().Settings.model_fields}
    known |= {EnvProvider.ACCESS_KEY, EnvProvider.SECRET_KEY, "PATH", "HOME"}
    for _, names, *_ in BOTOCORE.values():
        known |= {names} if isinstance(names, str) else set(names or ())
    core = importlib.util.find_spec("crewai_core")
    assert core is not None and core.origin is not None
    telemetry = Path(core.origin).with_name("telemetry.py")
    known |= set(re.findall(r'"((?:CREWAI|OTEL)_\w+)"', telemetry.read_text(encoding="utf-8")))
    for variables in (files.cluster_variables, files.compose_variables):
        assert not set(variables) - known


def no_file_holds_a_secret(files: Files) -> None:
    assert set(files.manifests["Secret"]["stringData"].values()) == {""}
    assert "data" not in files.manifests["Secret"]
    named = [*files.image_variables, *files.manifests["ConfigMap"]["data"]]
    assert not [name for name in named if WORDS_OF_SECRETS.search(name)]
    assert not [rest for word, rest in files.instructions if word == "ARG"]
    for name, value in files.composed["environment"].items():
        if WORDS_OF_SECRETS.search(name):
            assert value is None or value.startswith("${"), name
    assert "env" not in files.container
    written = "".join(map(files.text, files.names))
    assert not re.search(r"\bsk-\w{8}|\bAKIA\w{8}|BEGIN [A-Z ]*PRIVATE", written)
    assert files.text("Dockerfile.dockerignore").splitlines()[1:] == [
        "*",
        "!service",
        "!deploy/requirements.txt",
        "**/__pycache__",
    ]


def a_secret_that_is_filled_is_not_replaced(files: Files) -> None:
    with_it = [name for name in files.names if "kind: Secret" in files.text(name)]
    assert with_it == ["kubernetes/once/secret.yaml"], "kubectl apply takes all beside each other"
    assert "kubectl create --" in files.text(with_it[0])


def all_that_select_replicas_select_these(files: Files) -> None:
    deployment = files.manifests["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        files.manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        files.manifests["Service"]["spec"]["selector"],
    ):
        assert selector and selector.items() <= labels.items()
    assert files.manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert "replicas" not in deployment["spec"], "each kubectl apply would undo the autoscaler"
    assert "sessionAffinity" not in files.manifests["Service"]["spec"]


def one_replica_can_always_be_taken_away(files: Files) -> None:
    scaler = files.manifests["HorizontalPodAutoscaler"]["spec"]
    assert 2 <= scaler["minReplicas"] <= scaler["maxReplicas"]
    budget = files.manifests["PodDisruptionBudget"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert "minAvailable" not in budget


def scaling_does_not_follow_the_memory(files: Files) -> None:
    scaler = files.manifests["HorizontalPodAutoscaler"]["spec"]
    assert [metric["resource"]["name"] for metric in scaler["metrics"]] == ["cpu"]
    assert "cpu" in files.container["resources"]["requests"], "utilization is a part of it"
    for direction in ("scaleUp", "scaleDown"):
        (policy,) = scaler["behavior"][direction]["policies"]
        assert (policy["type"], policy["value"]) == ("Pods", 1)


def all_replicas_together_keep_to_the_quota(files: Files) -> None:
    settings = files.settings_of(files.cluster_variables)
    surge = files.manifests["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    most = files.manifests["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] + surge
    quota = int(files.manifests["ConfigMap"]["metadata"]["annotations"]["report-service/quota"])
    assert settings.service_kickoffs == quota // (most * settings.service_workers)


def the_image_is_one_version_of_one_thing(files: Files) -> None:
    version = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    image = f"{version['name']}:{version['version']}"
    assert files.container["image"] == files.composed["image"] == image
    assert f"--tag {image} " in files.text("Dockerfile")
    bases = {rest.split()[0] for word, rest in files.instructions if word == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", bases.pop())


def what_is_installed_is_pinned_and_precompiled(files: Files) -> None:
    (install,) = [rest for word, rest in files.instructions if "pip install" in rest]
    for option in ("--require-hashes", "--no-deps", "--only-binary :all:"):
        assert option in install
    assert "--requirement /tmp/requirements.txt" in install
    (bake,) = [rest for word, rest in files.instructions if "compileall" in rest]
    assert "service.crew" in bake and "uvicorn" in bake
    stages = [n for n, (word, _) in enumerate(files.instructions) if word == "FROM"]
    assert files.instructions.index(("RUN", bake)) < stages[-1], "what it writes would stay"


def each_line_that_a_chapter_taught_names_it(files: Files) -> None:
    for name, line, chapter in TAUGHT:
        lines = files.text(name).splitlines()
        (place,) = [n for n, text in enumerate(lines) if text.strip().startswith(line)]
        above = reversed([text.strip() for text in lines[:place]])
        # A comment may stand over a few lines that belong together.
        rest = itertools.dropwhile(lambda text: not text.startswith("#"), above)
        comment = list(itertools.takewhile(lambda text: text.startswith("#"), rest))
        assert re.search(rf"[Cc]hapter {chapter}\b", "\n".join(comment)), (name, line, chapter)


def each_chapter_that_is_named_exists(files: Files) -> None:
    for name in files.names:
        for chapter in re.findall(r"[Cc]hapter (\w+)", files.text(name)):
            assert len(list((ROOT / "chapters").glob(f"{chapter}_*.md"))) == 1, (name, chapter)
