"""What n replicas need and can do, worked out from what one replica and one request cost.

Nothing here measures: figures in, figures out. Memory is in MiB, hosts' memory in GiB,
times are in seconds, CPU times in seconds of one core. A quota of 0 is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from crewlab.errors import ToldValueError
from crewlab.results.show import Shown

MIB_A_GIB = 1024
MINUTE = 60.0  # s
MILLION = 1_000_000


def _refuse_impossible(costs: Replica | Request, positive: tuple[str, ...]) -> None:
    for name, value in vars(costs).items():
        if not math.isfinite(value) or value < 0 or (name in positive and not value):
            raise ToldValueError(
                f"{name}={value!r} is no cost of a {type(costs).__name__.lower()}.\n"
                f"It is a number {'above 0' if name in positive else 'from 0 on'}.\n"
                "Take the figures that capacity.measure(app) gives."
            )


@dataclass(frozen=True)
class Replica:
    """What one replica takes of its host.

    Attributes:
        private: MiB that no other process has (unique set size), once it is warm.
        common: MiB that it shares with the other replicas of its host, which are there once.
        start_cpu: CPU seconds until its app is imported.
    """

    private: float
    common: float
    start_cpu: float

    def __post_init__(self) -> None:
        _refuse_impossible(self, positive=("private", "start_cpu"))


@dataclass(frozen=True)
class Request:
    """What one request costs, once a replica is warm.

    Attributes:
        cpu: CPU seconds.
        calls: requests to the model.
        prompt_tokens: tokens sent to the model, all calls together.
        completion_tokens: tokens of its answers.
        call_seconds: how long the model takes for a call.
    """

    cpu: float
    calls: float
    prompt_tokens: float
    completion_tokens: float
    call_seconds: float

    def __post_init__(self) -> None:
        _refuse_impossible(self, positive=("cpu",))

    @property
    def tokens(self) -> float:
        """Tokens of question and answer, which providers count together against a quota."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Measured(Shown):
    """The figures of one app.

    Attributes:
        app: its name.
        threads: requests each replica worked on at the same time.
        alone: a replica that imports CrewAI itself.
        preloaded: one forked from a parent that has imported it; None where nothing is forked.
        request: a request.
    """

    app: str
    threads: int
    alone: Replica
    preloaded: Replica | None
    request: Request

    def __str__(self) -> str:
        from crewlab.capacity.sheet import figures_as_text

        return figures_as_text(self)

    def _repr_html_(self) -> str:
        from crewlab.capacity.sheet import figures_as_html

        return figures_as_html(self)


@dataclass(frozen=True)
class Deployment:
    """What is to be deployed, on which hosts, against which quota.

    Attributes:
        replicas: how many, on all hosts together.
        threads: requests each works on at the same time.
        preloaded: whether all replicas of a host are forked from a parent that has imported CrewAI.
        cores: processor cores of one host.
        memory: GiB of one host.
        probe: seconds a replica may take to start: ``failureThreshold`` times ``periodSeconds`` of
            a Kubernetes start-up probe. With the defaults of both, 3 and 10 s, it is 30 s.
        call_seconds: how long the provider's model takes for a call.
        requests_per_minute: calls your provider allows in a minute; 0: no quota.
        tokens_per_minute: tokens it allows in a minute; 0: no quota.
        prompt_price: your provider's price of a million prompt tokens; 0: not typed in.
        completion_price: the same of a million completion tokens.
    """

    replicas: int = 1000
    threads: int = 2
    preloaded: bool = False
    cores: int = 4
    memory: float = 16.0
    probe: float = 30.0
    call_seconds: float = 1.0
    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    prompt_price: float = 0.0
    completion_price: float = 0.0


def cost_of(measured: Measured, *, preloaded: bool) -> Replica:
    """Give the costs of a replica by the way it is started; forked, if it can be here."""
    return (measured.preloaded if preloaded else None) or measured.alone


def memory(replica: Replica, replicas: int, hosts: int = 1) -> float:
    """Give the MiB of all replicas: their own, and on each host what they share."""
    return replicas * replica.private + hosts * replica.common


def fit_in_memory(replica: Replica, gib: float) -> int:
    """Give how many replicas the memory of one host holds; 0: not even one."""
    return max(0, math.floor((gib * MIB_A_GIB - replica.common) / replica.private))


def ready_after(measured: Measured, replicas: int, cores: int, *, preloaded: bool) -> float:
    """Give the seconds until all replicas of one host are ready, if all start at once.

    An import runs on one core, so a lone replica takes its CPU time; more than the host has cores
    share them evenly, so that all are late together. Forked ones wait for their parent first.
    """
    at_once = max(1.0, replicas / cores)
    if preloaded and measured.preloaded:
        return measured.alone.start_cpu + at_once * measured.preloaded.start_cpu
    return at_once * measured.alone.start_cpu


def fit_probe(measured: Measured, cores: int, probe: float, *, preloaded: bool) -> int:
    """Give how many replicas may start at once on one host within a start-up probe's time."""
    if ready_after(measured, 1, cores, preloaded=preloaded) > probe:
        return 0
    replica = cost_of(measured, preloaded=preloaded)
    left = probe - (measured.alone.start_cpu if replica is measured.preloaded else 0.0)
    return max(1, math.floor(cores * left / replica.start_cpu))


def replica_rate(request: Request, threads: int, call_seconds: float) -> float:
    """Give the requests a second of one replica that never has to wait for work.

    Its threads wait for the model side by side, but only one of them computes (CPython's lock).
    """
    return min(threads / (request.cpu + request.calls * call_seconds), 1 / request.cpu)


def allowed_rate(request: Request, requests_per_minute: float, tokens_per_minute: float) -> float:
    """Give the requests a second that the quota allows; infinite without one."""
    limits = (
        (requests_per_minute, request.calls),
        (tokens_per_minute, request.tokens),
    )
    return min(
        (quota / MINUTE / used for quota, used in limits if quota and used), default=math.inf
    )


def most_in_quota(request: Request, deployment: Deployment) -> float:
    """Give how many busy replicas stay below the quota; one more gets 429s. Infinite: no quota."""
    allowed = allowed_rate(request, deployment.requests_per_minute, deployment.tokens_per_minute)
    if math.isinf(allowed):
        return math.inf
    return math.floor(allowed / replica_rate(request, deployment.threads, deployment.call_seconds))


def price_of(request: Request, prompt_price: float, completion_price: float) -> float:
    """Give the price of one request, in the currency of the prices of a million tokens."""
    paid = request.prompt_tokens * prompt_price + request.completion_tokens * completion_price
    return paid / MILLION


@dataclass(frozen=True)
class Answer:
    """What a deployment needs and can do.

    Attributes:
        fits_memory: replicas that one host's memory holds.
        fits_probe: replicas that may start at once on one host.
        hosts_for_memory: hosts that the memory asks for; 0: a host cannot hold one replica.
        hosts_for_start: hosts that the start-up asks for; 0: a lone replica is too late.
        hosts_for_cpu: hosts whose cores the answered requests keep busy.
        hosts: the most of these; 0 where there is no way.
        memory: MiB of all replicas on these hosts.
        start_seconds: until all are ready, the replicas spread evenly over these hosts.
        offered: requests a second the replicas could answer.
        allowed: requests a second the quota allows; infinite without one.
        answered: the smaller of both.
        most_in_quota: busy replicas that stay below the quota; infinite without one.
        price: of one request; 0 where no price was typed in.
    """

    fits_memory: int
    fits_probe: int
    hosts_for_memory: int
    hosts_for_start: int
    hosts_for_cpu: int
    hosts: int
    memory: float
    start_seconds: float
    offered: float
    allowed: float
    answered: float
    most_in_quota: float
    price: float


def answer(measured: Measured, wanted: Deployment) -> Answer:
    """Work a deployment out.

    Args:
        measured: what one replica and one request cost.
        wanted: what is to be deployed.

    Returns:
        What it needs and can do, under the assumptions of ``sheet.assumptions``.
    """
    request = measured.request
    replica = cost_of(measured, preloaded=wanted.preloaded)
    fits_memory = fit_in_memory(replica, wanted.memory)
    fits_start = fit_probe(measured, wanted.cores, wanted.probe, preloaded=wanted.preloaded)
    offered = wanted.replicas * replica_rate(request, wanted.threads, wanted.call_seconds)
    allowed = allowed_rate(request, wanted.requests_per_minute, wanted.tokens_per_minute)
    answered = min(offered, allowed)
    needs = (
        _hosts(wanted.replicas, fits_memory),
        _hosts(wanted.replicas, fits_start),
        math.ceil(answered * request.cpu / wanted.cores),
    )
    hosts = max(needs) if fits_memory and fits_start else 0
    spread = math.ceil(wanted.replicas / hosts) if hosts else wanted.replicas
    return Answer(
        fits_memory=fits_memory,
        fits_probe=fits_start,
        hosts_for_memory=needs[0],
        hosts_for_start=needs[1],
        hosts_for_cpu=needs[2],
        hosts=hosts,
        memory=memory(replica, wanted.replicas, hosts),
        start_seconds=ready_after(measured, spread, wanted.cores, preloaded=wanted.preloaded),
        offered=offered,
        allowed=allowed,
        answered=answered,
        most_in_quota=most_in_quota(request, wanted),
        price=price_of(request, wanted.prompt_price, wanted.completion_price),
    )


def _hosts(replicas: int, fit: int) -> int:
    return math.ceil(replicas / fit) if fit else 0
