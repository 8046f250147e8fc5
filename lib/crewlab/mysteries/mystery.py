"""A deployment to look into: what the person on call can do with it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crewlab import workspace
from crewlab.app import App
from crewlab.errors import ToldValueError
from crewlab.mysteries.cases import CASES, Case, Production
from crewlab.mysteries.requests import requests_of
from crewlab.mysteries.sightings import Partners, Replicas, partners_of, replicas_of
from crewlab.results.run import Run, Verdict

if TYPE_CHECKING:
    from crewlab.results.ledger import Ledger
    from crewlab.results.stacks import Stacks
    from crewlab.services import Services

SOURCES = Path(__file__).with_name("apps")
PATIENCE = 3.0
"""Seconds without any movement after which the watchdog takes a request for stuck."""
LONGEST_WATCH = 30.0


@dataclass
class Mystery:
    """One deployment, and the evidence gathered so far.

    Attributes:
        number: which mystery.
        app: the service; its text is ``app.source``, for when you know where to look.
        case: what is known of it, the cause included.
        gathered: the names of the tools that were used.
    """

    number: int
    app: App
    case: Case = field(repr=False)
    gathered: set[str] = field(default_factory=set)
    _last: Run | None = field(default=None, repr=False)
    _partners: Any = field(default=None, repr=False)
    _shop: Any = field(default=None, repr=False)

    @classmethod
    def open(cls, number: int) -> Mystery:
        """Put a mystery's app beside the learner's own, where they can import it.

        Args:
            number: which one.
        """
        folder = workspace.chapter_folder()
        for name in ("own_globals", "watched", f"service_{number:02}"):
            shutil.copy(SOURCES / f"{name}.py", folder / f"{name}.py")
        return cls(number, App.from_file(folder / f"service_{number:02}.py"), CASES[number])

    def with_app(self, app: App) -> Mystery:
        """Give the same deployment with another app in it, such as a repaired one."""
        return Mystery(self.number, app, self.case)

    @property
    def symptom(self) -> str:
        """What the person on call sees."""
        return self.case.symptom

    @property
    def production(self) -> Production:
        """How the service runs in production."""
        return self.case.production

    # --- the tools ----------------------------------------------------------------------------

    def alone(self) -> Run:
        """Run it as on a laptop: one replica, one request at a time, partners that work."""
        self.gathered.add("alone")
        return self._deploy(_laptop(self.production, 3))

    def in_turn(self, customers: int = 20) -> Run:
        """Run it as on a laptop, with so many customers, one after the other."""
        self.gathered.add("in_turn")
        return self._deploy(replace(_laptop(self.production, customers), latency=0.02))

    def together(self, **changes: Any) -> Run:
        """Run it as in production, all customers at once, each answer held against who asked.

        Args:
            **changes: what shall differ from production, such as ``threads=1``; see `Production`.
        """
        self.gathered.add("together")
        return self._deploy(replace(self.production, **changes))

    def own_globals(self, **changes: Any) -> Run:
        """Do the same, with module globals of its own for each request."""
        self.gathered.add("own_globals")
        return self._deploy(replace(self.production, **changes), wrapper="own_globals")

    def kill(self, replicas: int = 2, **changes: Any) -> Run:
        """Kill replicas in the middle of a job each; the jobs are done again by fresh ones.

        Args:
            replicas: how many are killed.
            **changes: what else shall differ from production.
        """
        self.gathered.add("kill")
        how = replace(self.production, replicas=replicas, threads=1, cut_off=30.0)
        return self._deploy(replace(how, killed=replicas, **changes))

    def stacks(self, *, patience: float = PATIENCE, **changes: Any) -> Stacks | Verdict:
        """Run it under a watchdog that says where its requests wait, if none of them moves.

        Args:
            patience: seconds without any movement after which they are taken for stuck.
            **changes: what shall differ from production.

        Returns:
            The stacks, or one sentence: nothing stood still.
        """
        from crewlab.results.stacks import Stacks

        self.gathered.add("stacks")
        how = replace(self.production, **{"cut_off": LONGEST_WATCH, **changes})
        run = self._deploy(how, wrapper="watched", env={"WATCHDOG_PATIENCE": str(patience)})
        for replica in run.replicas:
            if "most recent call first" in replica.log:
                return Stacks(replica.log)
        return Verdict("Nothing stood still: every request moved on until it had an outcome.")

    def replicas(self) -> Replicas:
        """Show the last run replica by replica: outcomes, errors, the end of the log."""
        run = self._last_run()
        self.gathered.add("replicas")
        return replicas_of(run)

    def partners(self) -> Partners:
        """Show what model and search saw of the last run."""
        self._last_run()
        self.gathered.add("partners")
        seen: Partners = self._partners
        return seen

    def payments(self) -> Ledger:
        """Show how often each order of the last run was paid.

        Raises:
            ValueError: this service takes no orders.
        """
        from crewlab.results.ledger import audit

        if self.production.asks != "orders":
            raise ToldValueError(
                f"Mystery {self.number} takes no orders, so there are no payments to look at."
            )
        run = self._last_run()
        self.gathered.add("payments")
        return audit(run, self._shop)

    def stored(self) -> list[str]:
        """Give every text the last run has put into its bucket, replaced ones included."""
        self._last_run()
        storage, bucket = _local_services().storage.client(), self._shop.bucket
        versions = storage.list_object_versions(Bucket=bucket).get("Versions", [])
        bodies = [
            storage.get_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])["Body"]
            for one in versions
        ]
        return [body.read().decode(errors="replace") for body in bodies]

    def verdict(self, *causes: str) -> None:
        """Name the cause, or the causes, and be told right or wrong.

        Args:
            *causes: names such as "leak"; "healthy" if nothing is wrong.
        """
        from crewlab.mysteries.verdicts import judge
        from crewlab.notebook.show import GOOD, TRY_AGAIN, as_html, panel, plain, show

        said = judge(self, causes)
        text = "\n".join([said.headline, *said.lines])
        show(plain(text), panel(as_html(text), GOOD if said.right else TRY_AGAIN))

    # --- how they work ------------------------------------------------------------------------

    def _last_run(self) -> Run:
        if self._last is None:
            raise ToldValueError(
                f"Mystery {self.number} has not run yet.\nRun it first, for example with .alone()."
            )
        return self._last

    def _deploy(
        self,
        how: Production,
        wrapper: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Run:
        from crewlab.deployment import Eviction, scale
        from crewlab.services.shop import Shop

        local = _local_services()
        self._shop = shop = Shop(local)
        first, then, judge = requests_of(how.asks, how.customers, shop)
        variables: dict[str, str | None] = {**shop.environment, **(env or {})}
        app = self.app
        if wrapper is not None:
            app = App.from_file(workspace.chapter_folder() / f"{wrapper}.py")
            variables |= {"SERVICE": self.app.name, "SERVICE_FILE": str(self.app.path)}
        with (
            local.counted_anew(),
            local.model.temporarily(latency=how.latency, max_in_flight=how.quota),
            local.search.temporarily(hang=range(1, how.silent_searches + 1)),
        ):
            in_mid_job = shop.hold_jobs(how.killed) if how.killed else None
            run = scale(
                app,
                replicas=how.replicas,
                threads=how.threads,
                requests=first,
                then=then,
                judge=judge,
                start_method=how.start_method,
                env=[variables] * (how.replicas - 1) + [{**variables, **how.last_replica}],
                timeout=how.cut_off,
                evict=[Eviction(number, when=in_mid_job) for number in range(how.killed)],
                redeliver=1 if how.killed else 0,
            )
            self._partners = partners_of(local)
        self._last = run
        return run

    def __str__(self) -> str:
        how = self.production
        return f"Mystery {self.number}: {self.case.title}\n\n{self.symptom}\n\n{_in_words(how)}"

    def _repr_html_(self) -> str:
        return (
            f"<p><b>Mystery {self.number}: {escape(self.case.title)}</b></p>"
            f"<pre>{escape(self.symptom)}</pre><p>{escape(_in_words(self.production))}</p>"
        )

    def _ipython_display_(self) -> None:
        from crewlab.notebook.show import show

        show(str(self), self._repr_html_())


def _laptop(how: Production, customers: int) -> Production:
    return Production(
        replicas=1, threads=1, customers=customers, asks=how.asks, quota=how.quota, latency=0.1
    )


def _in_words(how: Production) -> str:
    started = {
        "fork": "forked by a master that has imported the app",
        "forkserver": "each imports the app for itself",
        "spawn": "each imports everything for itself",
    }[how.start_method]
    asks = {
        "reports": "Customers ask for a report.",
        "notes": "One day notes on customers are taken, the next day a letter is asked for.",
        "orders": "Customers order and pay.",
    }[how.asks]
    quota = f" The model works on {how.quota} requests at once." if how.quota else ""
    threads = f"{how.threads} thread{'s' * (how.threads != 1)}"
    return f"{how.replicas} replicas of {threads}, {started}. {asks}{quota}"


def _local_services() -> Services:
    from crewlab import services

    local = services.current()
    if local is None or not local.model_is_local:
        raise ToldValueError(
            "The mysteries need the course's own model, which can be slow or silent on demand.\n"
            "Unset OPENAI_BASE_URL, restart the kernel and run %load_ext crewlab."
        )
    return local
