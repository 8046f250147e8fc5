"""``make bench``: one table, everything measured side by side in one run."""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import engines, model_endpoint
from crewlab import scale, services
from crewlab.deployment import warm
from crewlab.deployment.container import NOBODY
from crewlab.results.text import table

IDLE_APP = Path(__file__).with_name("idle_app.py")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each engine (default 3)")
    parser.add_argument("--only", nargs="*", help="engines to measure, by the names in the table")
    arguments = parser.parse_args()
    local = services.start()
    os.environ.update(local.environment)
    os.environ["SSL_CERT_FILE"] = str(NOBODY)  # replicas have it; the other engines' workers too
    warm()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {arguments.rounds} rounds\n")
    compare_engines(arguments.rounds, arguments.only)
    print()
    measure_parts(arguments.rounds)


def compare_engines(rounds: int, only: list[str] | None) -> None:
    """Measure all engines in turn, round by round, so that a drift of the machine hits all."""
    measures: dict[str, Callable[[], float]] = {
        "scale": engines.replicas,
        "spawn pool": engines.spawn_pool,
        "loky": engines.loky_pool,
        "dask": engines.dask_cluster,
    }
    if only is None or "ray" in only:
        measures["ray, running workers"] = engines.ray_running()
    chosen = {k: v for k, v in measures.items() if not only or k.split(",")[0] in [*only, "scale"]}
    engines.replicas()  # the very first run reads the app's files from a cold disk
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    with _quiet_workers():
        for _ in range(rounds):
            for name, measure in chosen.items():
                seconds[name].append(measure())
    rows = [
        (
            name,
            f"{statistics.median(taken):.2f}",
            f"{min(taken):.2f} to {max(taken):.2f}",
            f"{statistics.median(t / s for t, s in zip(taken, seconds['scale'], strict=True)):.1f}",
        )
        for name, taken in seconds.items()
    ]
    head = ("16 kickoffs on 4 processes", "median s", "range s", "times scale's")
    print(table([head, *rows]))


@contextlib.contextmanager
def _quiet_workers() -> Iterator[None]:
    """Keep what the engines' workers log out of the table."""
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def measure_parts(rounds: int) -> None:
    """Measure what a replica, the model endpoint and the set-up line of a notebook cost."""
    per_replica = statistics.median(
        (_start_up(9) - _start_up(1)) / 8 for _ in range(max(rounds, 3))
    )
    rows = [
        ("start of one more replica", f"{per_replica * 1000:.0f} ms", "under 100 ms"),
        ("private memory of a replica", f"{_private_memory():.1f} MiB", "under 10 MB"),
        ("model endpoint, one core", f"{model_endpoint.measure():.0f} requests/s", "at least 3000"),
        ("%load_ext crewlab", f"{_load_extension(rounds):.2f} s", "under 1 s"),
    ]
    print(table([("part", "measured", "goal"), *rows]))


def _start_up(replicas: int) -> float:
    return scale(IDLE_APP, replicas=replicas, threads=1, requests=1).startup_seconds


def _private_memory() -> float:
    run = scale(IDLE_APP, replicas=4, threads=1, requests=4)
    return statistics.median(float((record.answer or "").split()[-1]) for record in run.requests)


def _load_extension(rounds: int) -> float:
    """Time the line in a fresh interpreter with IPython, as a kernel is."""
    script = (
        "import time\n"
        "from IPython.testing.globalipapp import start_ipython\n"
        "shell = start_ipython()\n"
        "began = time.perf_counter()\n"
        "shell.run_line_magic('load_ext', 'crewlab')\n"
        "print(time.perf_counter() - began)\n"
    )
    taken = []
    for _ in range(rounds):
        out = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        taken.append(float(out.stdout.split()[-1]))
        time.sleep(1)  # its fork server, cut short, lets go of the processor
    return statistics.median(taken)


if __name__ == "__main__":
    main()
