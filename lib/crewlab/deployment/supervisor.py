"""Runs one deployment: starts replicas, hands out requests, watches, restarts, cleans up.

It is what a container orchestrator and a load balancer are to a service, as far as the course
needs them.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crewlab.deployment.backlog import Backlog
from crewlab.deployment.container import make_container, make_image
from crewlab.deployment.evictions import Watch
from crewlab.deployment.launch import Launcher, make_launcher
from crewlab.deployment.member import Member, signal_name
from crewlab.deployment.plan import Plan
from crewlab.deployment.scratch import scratch_folder
from crewlab.deployment.stall import Stall
from crewlab.deployment.tidy import shorten
from crewlab.results.records import Event, RequestRecord
from crewlab.results.run import Run

TICK = 0.02
STOP_GRACE = 1.0
RUNNING = ("starting", "ready", "terminating")


class Supervisor:
    """One deployment, from the first process started to the last one gone."""

    def __init__(self, plan: Plan, on_event: Callable[[Event], None] | None = None) -> None:
        self._plan = plan
        self._on_event = on_event
        self._inbox: queue.SimpleQueue[tuple[int, int, tuple[Any, ...]]] = queue.SimpleQueue()
        self._members = [
            Member(f"{plan.app.name}-{index}", index, plan.threads)
            for index in range(plan.replicas)
        ]
        self._backlog = Backlog(plan, self._tell_finished)
        self._watches = [Watch(eviction) for eviction in plan.evictions]
        self._stall = Stall(plan.stalled_after)
        self._began = time.monotonic()
        self._folder = Path(tempfile.mkdtemp(prefix="run-", dir=scratch_folder()))
        self._launcher: Launcher

    def run(self) -> Run:
        """Deploy, serve every request, take everything down.

        Returns:
            What happened.

        Raises:
            OSError: no process could be started, or no temporary file written.
            Exception: whatever ``on_event`` raises.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
            make_image(self._plan, self._folder)
            master = make_container(self._plan, self._folder, "master", self._plan.env[0])
            self._launcher = make_launcher(
                self._plan.start_method, master, self._plan.startup_timeout
            )
            stack.callback(self._launcher.close)
            stack.callback(self._take_down)
            self._began = time.monotonic()
            for member in self._members:
                self._start(member)
            while self._backlog.is_open:
                self._receive()
                self._watch()
                self._release_when_started()
                self._hand_out()
                self._evict()
            seconds = self._backlog.seconds
            for member in self._members:
                self._note_final_status(member)
        return self._backlog.run(
            [member.record for member in self._members],
            start_method=self._plan.start_method,
            startup_seconds=(self._backlog.released or self._began) - self._began,
            seconds=seconds,
        )

    # --- replicas -----------------------------------------------------------------------------

    def _start(self, member: Member) -> None:
        env = self._plan.env[member.index]
        container = make_container(self._plan, self._folder, member.record.name, env)
        member.start(self._launcher, container, self._inbox.put)
        member.record.status = "ContainerCreating"

    def _watch(self) -> None:
        now = time.monotonic()
        for member in self._members:
            if member.state == "backing-off" and now >= member.restart_at:
                member.record.restarts += 1
                self._start(member)
                self._tell("restarted", member)
            elif member.state in RUNNING:
                self._watch_process(member, now)
        if self._backlog.released and self._backlog.seconds > self._plan.timeout:
            self._backlog.end_all("timeout", f"no answer within {self._plan.timeout:g} s")
        if self._backlog.released and self._stall.has_lasted(m.pid for m in self._members):
            why = f"no replica has done anything for {self._plan.stalled_after:g} s"
            self._backlog.end_all("timeout", why)

    def _watch_process(self, member: Member, now: float) -> None:
        limit = self._plan.memory_limit
        memory = member.watch_memory()
        if limit is not None and memory > limit and not member.killed_for:
            self._note(member, f"killed: memory above its limit of {limit:g} MiB")
            if self._backlog.released:
                member.sample(self._backlog.seconds, is_last=True)
            member.kill("OOMKilled")
        if self._backlog.released:
            member.sample(self._backlog.seconds)
        is_late = now - member.started_at > self._plan.startup_timeout
        if member.state == "starting" and is_late and not member.killed_for:
            self._note(member, f"killed: not ready after {self._plan.startup_timeout:g} s")
            member.kill("startup probe failed")
        if member.state == "terminating" and now >= member.kill_at and not member.killed_for:
            self._note(member, "killed: its grace period is over")
            member.kill("grace period over")
        code = member.exit_code()
        if code is not None:
            member.end_the_rest()  # they hold its pipe open
            self._drain(member)
            self._note_end(member, code)

    def _note_end(self, member: Member, code: int) -> None:
        record = member.record
        record.exit_code, record.ready = code, False
        ended = "Completed" if code == 0 else "Error"
        record.status = member.killed_for if member.killed_for == "OOMKilled" else ended
        signal = signal_name(code)
        self._note(member, f"ended with exit code {code}" + (f" ({signal})" if signal else ""))
        if member.state == "starting" and record.error is None:
            record.error = f"ended at start-up with exit code {code}"
        why = f"replica {record.name} ended with exit code {code} while it had this request"
        self._backlog.dropped(member.in_flight, why)
        member.in_flight.clear()
        member.clean_up()
        self._tell("ended", member)
        if member.state == "terminating":
            record.replaced += 1
            self._start(member)
            self._tell("restarted", member)
        elif record.restarts < self._plan.restarts:
            member.back_off()
        else:
            member.state = "down"
            if record.restarts:
                record.status = "CrashLoopBackOff"

    def _note_final_status(self, member: Member) -> None:
        if member.state == "ready":
            member.record.status, member.record.ready = "Running", True
            member.sample(self._backlog.seconds, is_last=True)
        elif member.state == "starting" and not member.record.restarts:
            member.record.status = "ContainerCreating"  # in the place of one that was told to end
        elif member.state in ("backing-off", "starting"):  # it is being tried once more
            member.record.status = "CrashLoopBackOff"
        elif member.state == "terminating":
            member.record.status = "Terminating"

    def _evict(self) -> None:
        """End the replicas whose time has come, and those that took their number of requests."""
        for watch in list(self._watches):
            member = self._members[watch.eviction.replica]
            if member.state == "ready" and watch.is_due(member.taken):
                self._watches.remove(watch)
                grace = watch.eviction.grace
                self._note(member, f"evicted: SIGTERM, {grace:g} s grace" if grace else "killed")
                member.terminate(grace)
        most = self._plan.recycle_after
        for member in self._members:
            if member.state == "ready" and most and member.given >= most and not member.in_flight:
                self._note(member, f"recycled after {member.given} requests")
                member.state, member.kill_at = "terminating", time.monotonic() + STOP_GRACE
                member.ask_to_stop()

    # --- requests -----------------------------------------------------------------------------

    def _release_when_started(self) -> None:
        """Let all requests go together, once every replica is ready or has failed to start."""
        if self._backlog.released is None and all(
            member.state != "starting" or member.record.restarts for member in self._members
        ):
            self._backlog.release()

    def _hand_out(self) -> None:
        if self._backlog.released is None:
            return
        while self._backlog.has_waiting:
            member = max(self._members, key=self._room)
            if self._room(member) < 1:
                break
            record = self._backlog.take(member.record.name)
            if record is not None:
                member.give(record.number, record.inputs)
        if all(member.state == "down" for member in self._members):
            errors = [member.record.error for member in self._members if member.record.error]
            why = "no replica is left to take it" + (f"; {errors[0]}" if errors else "")
            self._backlog.end_all("lost", why)

    def _room(self, member: Member) -> int:
        """How many more requests a replica can take now."""
        most = self._plan.recycle_after
        return (
            member.free_threads if most is None else min(member.free_threads, most - member.given)
        )

    def _receive(self) -> None:
        """Wait a tick for the first message, then take all that are there."""
        with contextlib.suppress(queue.Empty):
            item = self._inbox.get(timeout=TICK)
            while True:
                self._handle(*item)
                item = self._inbox.get_nowait()

    def _drain(self, member: Member) -> None:
        """Read what an ended replica managed to say before its end."""
        deadline = time.monotonic() + 0.5
        while not member.has_hung_up and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                self._handle(*self._inbox.get(timeout=TICK))

    def _handle(self, index: int, generation: int, message: tuple[Any, ...]) -> None:
        member = self._members[index]
        if generation != member.generation or member.state not in RUNNING:
            return
        match message:
            case ("ready",):
                member.state = "ready"
                member.record.status, member.record.ready = "Running", True
                member.record.ready_after = time.monotonic() - member.started_at
                self._tell("ready", member)
            case ("closed",):
                member.has_hung_up = True
            case ("failed", error, traceback):
                member.record.error = shorten(error, self._folder)
                member.record.traceback = shorten(traceback, self._folder)
            case ("taken", number, thread):
                member.taken += 1
                if self._backlog.started(number, thread):
                    self._tell("taken", member, number)
            case ("answer", number, text):
                member.in_flight.discard(number)
                self._backlog.answered(number, text)
            case ("error", number, error, traceback):
                member.in_flight.discard(number)
                error, traceback = (shorten(text, self._folder) for text in (error, traceback))
                self._backlog.finish(number, "error", error=error, traceback=traceback)

    # --- telling and ending -------------------------------------------------------------------

    def _tell_finished(self, record: RequestRecord) -> None:
        if self._on_event is not None:
            seconds = time.monotonic() - self._began
            self._on_event(Event("finished", seconds, record.replica, record.number, record.kind))

    def _tell(self, kind: str, member: Member, number: int | None = None) -> None:
        if self._on_event is not None:
            seconds = time.monotonic() - self._began
            self._on_event(Event(kind, seconds, member.record.name, number))

    def _note(self, member: Member, what: str) -> None:
        member.record.events.append(f"{time.monotonic() - self._began:.2f} s: {what}")

    def _take_down(self) -> None:
        """Leave no process and no file, whatever ended the run."""
        running = [member for member in self._members if member.exit_code() is None]
        for member in running:
            if member.state == "ready":
                member.ask_to_stop()
            else:
                member.kill("taken down")
        deadline = time.monotonic() + STOP_GRACE
        while time.monotonic() < deadline and any(m.exit_code() is None for m in running):
            time.sleep(0.002)
        for member in running:
            member.kill("taken down")
        for member in self._members:
            member.clean_up()
