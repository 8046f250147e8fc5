"""Chapter 03: keep nothing on a replica's disk."""

from __future__ import annotations

from typing import Any

from crewlab.app import App
from crewlab.companies import COMPANIES
from crewlab.exercises.types import CheckResult, LogLine, Option, Quiz
from crewlab.results.records import Event
from crewlab.results.run import Run

REPLICAS, THREADS = 4, 2
CUSTOMERS = COMPANIES[:8]
LOAD = (
    f"Load: {len(CUSTOMERS)} drafts on {REPLICAS} replicas of {THREADS} threads,"
    " then each is approved at another replica."
)

QUIZZES: dict[str, Quiz] = {
    "03-predict": Quiz(
        "With one replica all reports name the order. What do the customers get from four?",
        (
            Option(
                "The same: the file has the same name everywhere.",
                "The same name, on four disks. Each replica has a working directory of its own.",
            ),
            Option(
                "An error: the tool raises FileNotFoundError, and the request fails.",
                "The tool does raise it. CrewAI catches it and tells the model instead.",
            ),
            Option(
                "Fluent reports without the order, and no error.",
                "The file is on another replica's disk, the tool raises, CrewAI hands the text of"
                " the error to the model, and the model answers without the order.",
                right=True,
            ),
            Option(
                "Reports that name other customers' orders.",
                "Each customer has a file of their own. That mix-up comes with a shared file name,"
                " further down.",
            ),
        ),
    ),
    "03-remember": Quiz(
        "Four replicas share a volume, so every file is seen by all. Is that the repair?",
        (
            Option(
                "Yes: there is one disk again, as on the laptop.",
                "One disk for all is where they meet: one file name for two customers, one"
                " kickoff store for all crews, and reading and writing back is a race.",
            ),
            Option(
                "Only if no two requests write the same file, or a condition decides who wins.",
                "A shared disk no longer forgets, it mixes up. Keys that name the customer part"
                " what can be parted; a conditional write settles what cannot.",
                right=True,
            ),
            Option(
                "No: a volume can be mounted by one replica only.",
                "Some can, others are made for many. Where many write, the race is the trouble.",
            ),
        ),
    ),
}

LOGS: tuple[LogLine, ...] = (
    LogLine(
        "Error executing tool: [Errno 2] No such file or directory",
        "A tool's file is on another replica's disk. CrewAI told the model, and the model answered"
        " without it: status 200. Keep the file in object storage.",
    ),
    LogLine(
        "FileNotFoundError: [Errno 2] No such file or directory",
        "It was written by another replica, or before a restart. Keep it in object storage, and"
        " pass its key.",
    ),
    LogLine(
        "OSError: [Errno 30] Read-only file system",
        "CrewAI makes folders when it is imported. Point HOME and CREWAI_STORAGE_DIR to a volume"
        " that can be written.",
    ),
    LogLine(
        "ValueError: Task with id 1f0c not found in the crew's tasks.",
        "Another kickoff has emptied the store that replay reads: every kickoff does. Give each"
        " service a CREWAI_STORAGE_DIR, and keep outputs yourself.",
    ),
    LogLine(
        "PreconditionFailed: At least one of the pre-conditions you specified did not hold",
        "The repair at work: another replica wrote first. Read again and try again.",
    ),
)

HINTS: tuple[str, ...] = (
    "Two places belong to one replica's disk: where the draft is written and where it is read. "
    "The first is not an open() of his.",
    "CrewAI writes the draft, because of output_file. The same text is in what kickoff returns: "
    ".raw. Which place can every replica reach?",
    "In draft(), put the text into the bucket under a key with the company in it: "
    'boto3.client("s3").put_object(Bucket=..., Key=..., Body=text.encode()). In send(), get that '
    "object. Remove output_file and DRAFTS.",
)

_ELSEWHERE = "Put the draft where every replica can reach it: into the bucket."


def check(app: App) -> CheckResult:
    """Have drafts approved at another replica than the one that wrote them.

    Args:
        app: the learner's.

    Returns:
        Solved if each customer is sent what was drafted, once, by way of the bucket.
    """
    from crewlab import services
    from crewlab.deployment import scale

    local = services.current()
    if local is None:
        return CheckResult(False, "the local services do not run. Restart the kernel.")
    counts_calls = local.model_is_local
    bucket = local.storage.new_bucket()
    _keep_versions(bucket)
    if counts_calls:
        local.model.reset()
    finished: list[Event] = []
    calls_for_drafts: list[int] = []

    def count_calls(event: Event) -> None:
        if event.kind == "finished":
            finished.append(event)
            if len(finished) == len(CUSTOMERS) and counts_calls:
                calls_for_drafts.append(local.model.stats().total)

    run = scale(
        app,
        replicas=REPLICAS,
        threads=THREADS,
        requests=[{"step": "draft", "company": company} for company in CUSTOMERS],
        then=[{"step": "send", "company": company} for company in reversed(CUSTOMERS)],
        judge=_Letters(),
        env={"BUCKET": bucket},
        on_event=count_calls,
    )
    problem = _problem_of(run)
    if problem is not None:
        return problem
    if counts_calls and calls_for_drafts[0] < len(CUSTOMERS):
        return CheckResult(
            False,
            "the letters are right, but not every draft came from the model.",
            (LOAD,),
            "Let the crew do the work: each draft needs a kickoff of its own.",
        )
    if counts_calls and local.model.stats().total > calls_for_drafts[0]:
        return CheckResult(
            False,
            "the model is asked again when a draft is sent.",
            (LOAD,),
            "A real model would write another text, which nobody has approved. Keep the draft.",
        )
    missing = _never_stored(bucket)
    if missing:
        return CheckResult(
            False,
            "every letter is right here, but not by way of the bucket that BUCKET names.",
            (LOAD, f"The bucket never held a draft for {missing[0]}."),
            "All replicas run on one machine here, so an absolute path is one folder for all. "
            f"In a cluster it is not. {_ELSEWHERE}",
        )
    return CheckResult(
        True, "every customer is sent what was approved, by whichever replica.", (LOAD,)
    )


class _Letters:
    """Tells whether a draft is about its customer alone, and whether it is what is sent."""

    def __init__(self) -> None:
        self._drafts: dict[str, str] = {}

    def __call__(self, inputs: Any, answer: str) -> bool:
        company = inputs["company"]
        if inputs["step"] == "draft":
            self._drafts[company] = answer
        draft = self._drafts.get(company, "")
        others = any(name in answer for name in CUSTOMERS if name != company)
        return bool(draft) and draft in answer and company in answer and not others


def _problem_of(run: Run) -> CheckResult | None:
    drafts, letters = run.requests[: len(CUSTOMERS)], run.requests[len(CUSTOMERS) :]
    if run.lost == len(run.requests):
        return CheckResult(False, f"the app does not start: {run.first_error}.")
    if any(record.kind == "error" for record in drafts):
        return CheckResult(False, f"not every draft is written: {run.first_error}.")
    if any(record.kind == "wrong" for record in drafts):
        return CheckResult(
            False, "a draft is not about the customer who asked for it.", (LOAD,), _ELSEWHERE
        )
    if any(record.kind == "error" for record in letters):
        return _not_found(run)
    if any(record.kind == "wrong" for record in letters):
        return CheckResult(
            False,
            "no error any more, and customers are sent what they have not approved.",
            (LOAD,),
            "Is the customer's name part of the key? And is all of the draft sent?",
        )
    for record in run.requests:
        if record.kind != "ok":
            return CheckResult(False, f"not every customer is answered: {record.error}.", (LOAD,))
    return None


def _not_found(run: Run) -> CheckResult:
    said = run.first_error or ""
    if "FileNotFoundError" in said:
        return CheckResult(
            False,
            "a draft is not found where it is to be sent: it is on another replica's disk.",
            (LOAD, "Python says: FileNotFoundError: [Errno 2] No such file or directory."),
            _ELSEWHERE,
        )
    if said.startswith("KeyError") and any(company in said for company in CUSTOMERS):
        return CheckResult(
            False,
            "a draft is not found where it is to be sent: it is in another replica's memory.",
            (LOAD,),
            f"A variable lives in one process, as a file lives on one disk. {_ELSEWHERE}",
        )
    return CheckResult(False, f"drafts are written, but not sent: {said}.", (LOAD,))


def _client() -> Any:
    """Give a client of the storage that the app uses: the environment says which."""
    import boto3

    return boto3.session.Session().client("s3")


def _keep_versions(bucket: str) -> None:
    """Remember what is deleted too: an app may clear a draft away when it is sent."""
    _client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def _never_stored(bucket: str) -> list[str]:
    """List the customers whose draft the bucket never held."""
    storage = _client()
    versions = storage.list_object_versions(Bucket=bucket).get("Versions", [])
    texts = [
        storage.get_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])["Body"]
        .read()
        .decode(errors="replace")
        for one in versions
    ]
    return [company for company in CUSTOMERS if not any(company in text for text in texts)]
