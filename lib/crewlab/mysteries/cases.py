"""What is known of each mystery: what is seen, how it is deployed, and what the cause is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crewlab.deployment.plan import StartMethod

HEALTHY = "healthy"


@dataclass(frozen=True)
class Production:
    """How a service is deployed, and what its partners are like on the day in question.

    Attributes:
        replicas: processes.
        threads: requests each works on at the same time.
        customers: how many ask at once.
        asks: "reports"; "notes", which are taken one day and asked for the next; or "orders".
        start_method: how the replicas are started.
        latency: seconds the model takes for an answer.
        quota: requests the model works on at once; one more is refused. None: no quota.
        silent_searches: so many of the first searches get no answer.
        last_replica: what the environment of the replica that was started last differs in.
        killed: so many replicas are killed in the middle of a job, which is then done again.
        cut_off: seconds after which the course stops waiting.
    """

    replicas: int = 2
    threads: int = 4
    customers: int = 8
    asks: str = "reports"
    start_method: StartMethod = "forkserver"
    latency: float = 0.2
    quota: int | None = None
    silent_searches: int = 0
    last_replica: Mapping[str, str | None] = field(default_factory=dict)
    killed: int = 0
    cut_off: float = 30.0


@dataclass(frozen=True)
class Case:
    """One mystery.

    Attributes:
        title: what the service does.
        symptom: what the person on call sees.
        production: how it runs.
        causes: names of the causes (`crewlab.mysteries.causes`); none if it is healthy.
        lesson: said with the verdict: why the symptom misleads, or what to remember.
    """

    title: str
    symptom: str
    production: Production
    causes: tuple[str, ...]
    lesson: str


CASES: dict[int, Case] = {
    1: Case(
        "Briefings for the sales team",
        "09:12:40 briefing-1  ERROR  500  POST /briefing  company=Eastvale\n"
        "09:12:41 briefing-0  INFO   200  POST /briefing  company=Hartwell\n"
        '09:31:07 sales       WARN   Hartwell: "you sent me a briefing on Dunmarrow"',
        Production(latency=0.5),  # so that kickoffs meet on a busy machine too
        ("shared objects",),
        "Crew and tasks are new for each request; the agents are not.",
    ),
    2: Case(
        "Answers to support tickets",
        "07:00:02 rollout     INFO   tickets-0  1/1  Running\n"
        "07:00:02 rollout     INFO   tickets-1  1/1  Running\n"
        "07:00:31 gateway     WARN   504  POST /ticket  company=Aldermoor   after 30 s\n"
        "07:00:31 gateway     WARN   504  POST /ticket  company=Brightwater after 30 s",
        Production(customers=4, threads=2, start_method="fork", cut_off=3.0),
        ("kickoff before a fork",),
        "A call of the model is as bad as a kickoff: both start the event bus's threads.",
    ),
    3: Case(
        "Reviews of contracts",
        "03:12:55 review-0    INFO   200  POST /review  company=Aldermoor\n"
        "03:12:55 kernel      INFO   Killed process 4711 (python) total-vm:4194304kB\n"
        "03:12:56 gateway     ERROR  502  POST /review  company=Brightwater",
        Production(),
        ("leak",),
        "The class is decorated with `@CrewBase`, and an instance of it is made for each request.",
    ),
    4: Case(
        "Morning notes with the news of the day",
        "06:00:00 cron        INFO   start: notes for 8 customers\n"
        "06:00:01 morning-0   INFO   200  POST /note  company=Cinderford\n"
        "06:30:00 cron        WARN   3 notes are missing; all replicas 1/1 Running",
        Production(threads=2, latency=0.1, silent_searches=3, cut_off=3.0),
        ("no time limit",),
        "The model's client has a limit, and `max_execution_time` looks like one.",
    ),
    5: Case(
        "Letters about orders",
        "Tue 10:02 letters-2  INFO   200  POST /letter  company=Greywick\n"
        "Tue 10:02 letters-0  INFO   200  POST /letter  company=Hartwell\n"
        'Wed 09:15 support    WARN   Greywick: "a kind letter, about which order?"',
        # A lane for each customer: who asks again meets another replica, for certain.
        Production(replicas=4, threads=2, asks="notes"),
        ("local disk",),
        "No error is raised: SQLite makes the file anew, and the code has a polite default.",
    ),
    6: Case(
        "Summaries of calls",
        "11:20:00 rollout     INFO   calls-3  1/1  Running  readiness probe: 200\n"
        "11:20:04 calls-3     ERROR  500  ImportError: Error importing native provider\n"
        "11:20:04 calls-1     INFO   200  POST /summary  company=Brightwater\n"
        "11:20:05 calls-3     ERROR  500  ImportError: Error importing native provider",
        Production(replicas=4, threads=1, customers=12, last_replica={"OPENAI_API_KEY": ""}),
        ("environment",),
        "The error speaks of an import; no package is missing, a variable is empty.",
    ),
    7: Case(
        "Renewals of subscriptions",
        "Mon 16:40:11 renewals-1  INFO   200  POST /note     company=Hartwell\n"
        "Tue 08:00:10 renewals-0  ERROR  500  POST /renewal  company=Fernhollow\n"
        "Tue 08:00:10 renewals-1  ERROR  500  POST /renewal  company=Aldermoor",
        Production(replicas=2, threads=4, asks="notes"),
        ("shared objects", "local disk"),
        "Each cause hides the other. Vary replicas and threads one at a time.",
    ),
    8: Case(
        "Surveys of the branch offices",
        "13:00:00 autoscaler  INFO   survey: 1 -> 4 replicas\n"
        "13:00:05 survey-2    ERROR  500  Tool 'ask_offices' failed: 'Bergen' (code: KeyError)\n"
        "13:00:05 survey-0    ERROR  500  Tool 'ask_offices' failed: 'Turin' (code: KeyError)",
        Production(replicas=4, threads=1, customers=4, latency=1.0, quota=8),
        ("unbounded concurrency",),
        "The KeyError is what is left when a thread has died of a 429.",
    ),
    9: Case(
        "Orders, confirmed by letter",
        "08:00:00 dashboard   WARN   p95 of POST /order: 0.4 s -> 1.3 s since Monday\n"
        "08:00:00 rollout     INFO   orders: 2 replicas since Monday, was 1\n"
        "08:04:12 orders-1    INFO   200  POST /order  company=Juniperra  delivery=2",
        Production(asks="orders", latency=0.6),
        (),
        "The model has become slow, and the app bears it. Say so, and change nothing.",
    ),
    10: Case(
        "Offers, by way of a queue",
        "12:00:00 deploy      INFO   offers: work goes through the queue now\n"
        "12:00:03 gateway     ERROR  500  POST /offer  company=Aldermoor\n"
        "12:00:03 gateway     ERROR  500  POST /offer  company=Brightwater",
        Production(customers=4),
        ("not plain data",),
        "The class that cannot be found is one that CrewAI made for the tool's arguments.",
    ),
    11: Case(
        "Seats, booked and confirmed",
        "12:00:04 kubelet     INFO   Stopping container seats-1\n"
        "12:00:06 seats-0     INFO   200  POST /seats  company=Brightwater\n"
        '12:20:31 support     WARN   Brightwater: "two payments for one booking?"',
        Production(threads=1, customers=4, asks="orders", killed=2),
        ("effect without a key",),
        "The payment has a key, made anew by each attempt. It must be the order's.",
    ),
}
