"""The environment variables that lead an app to the local services and keep it offline."""

from __future__ import annotations

from collections.abc import Mapping

from crewlab.offline import OFFLINE

KEY = "local-crewlab"
"""The key of every local service. A key that begins with ``local-`` is never taken for yours."""

REGION = "us-east-1"

# Which variables say where a service is, and with what key. Yours are kept if both are set.
_MODEL = ("OPENAI_BASE_URL", "OPENAI_API_KEY")
_SEARCH = ("SERPER_BASE_URL", "SERPER_API_KEY")
_STORAGE = ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID")

# Other names for the model's address, read by crewai or langchain-openai before OPENAI_BASE_URL.
_MODEL_ALIASES = ("OPENAI_API_BASE", "BASE_URL", "API_BASE")


def is_yours(variables: Mapping[str, str], names: tuple[str, str]) -> bool:
    """Tell whether somebody has set up a service of their own.

    Args:
        variables: environment variables.
        names: the variable of the service's address and that of its key.

    Returns:
        True if both are set and the key is none of ours (a kernel's child inherits those).
    """
    address, key = (variables.get(name, "") for name in names)
    return bool(address and key) and not key.startswith("local-")


def model_is_yours(variables: Mapping[str, str]) -> bool:
    """Tell whether OPENAI_BASE_URL and OPENAI_API_KEY lead to a model of the learner's own."""
    return is_yours(variables, _MODEL)


def environment_for(ports: Mapping[str, int], variables: Mapping[str, str]) -> dict[str, str]:
    """Give what an app needs in its environment.

    Args:
        ports: the ports of the local services by name.
        variables: the environment so far. A service of which it has both the address and the key
            stays as it is; a key alone does not count, so nothing is called by accident.

    Returns:
        The variables to set, those of CrewAI's offline switches included.
    """
    needed = dict(OFFLINE)
    model = f"http://127.0.0.1:{ports['model']}/v1"
    if is_yours(variables, _MODEL):
        needed.update({name: variables[name] for name in _MODEL})
    else:
        needed.update(OPENAI_BASE_URL=model, OPENAI_API_KEY=KEY)
        needed.update({name: model for name in _MODEL_ALIASES if variables.get(name)})
    if is_yours(variables, _SEARCH):
        needed.update({name: variables[name] for name in _SEARCH})
    else:
        search = f"http://127.0.0.1:{ports['search']}"
        needed.update(SERPER_BASE_URL=search, SERPER_API_KEY=KEY)
    if is_yours(variables, _STORAGE):
        names = (*_STORAGE, "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
        needed.update({name: variables[name] for name in names if name in variables})
    else:
        needed.update(
            AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{ports['storage']}",
            AWS_ACCESS_KEY_ID=KEY,
            AWS_SECRET_ACCESS_KEY=KEY,
            AWS_DEFAULT_REGION=REGION,
        )
    # A proxy that is set must not be asked the way to this machine.
    hosts = [host for host in variables.get("NO_PROXY", "").split(",") if host]
    hosts += [host for host in ("127.0.0.1", "localhost") if host not in hosts]
    needed["NO_PROXY"] = needed["no_proxy"] = ",".join(hosts)
    return needed
