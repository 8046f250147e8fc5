"""The same requests through each engine: fresh workers, one request at a time in each.

Every function returns the seconds from "nothing is running" to "all answers are here", except
``ray_running``, whose workers run and have imported everything beforehand.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

from bench.crew_app import run
from crewlab import scale
from crewlab.companies import default_requests
from crewlab.engines.ray_node import SETTINGS

WORKERS = 4
REQUESTS = default_requests(16)
APP = Path(__file__).with_name("crew_app.py")
RAY_START = 300.0  # s, for four workers to import CrewAI; it takes 30 s on two cores


def replicas() -> float:
    """``scale``: fresh replicas of a fork server that has CrewAI imported."""
    start = time.perf_counter()
    result = scale(APP, replicas=WORKERS, threads=1, requests=REQUESTS)
    seconds = time.perf_counter() - start
    result.expect(ok="all")
    return seconds


def spawn_pool() -> float:
    """``multiprocessing.Pool`` with spawn, the default of macOS and Windows."""
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        _expect_all(pool.map(run, REQUESTS, chunksize=1))
    return time.perf_counter() - start


def loky_pool() -> float:
    """loky, joblib's pool."""
    from loky import ProcessPoolExecutor

    start = time.perf_counter()
    with ProcessPoolExecutor(max_workers=WORKERS) as pool:
        _expect_all(list(pool.map(run, REQUESTS)))
    return time.perf_counter() - start


def dask_cluster() -> float:
    """A local cluster of dask.distributed."""
    from dask.distributed import Client, LocalCluster

    start = time.perf_counter()
    with (
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        _expect_all(client.gather(client.map(run, REQUESTS, pure=False)))
        seconds = time.perf_counter() - start
    return seconds


def ray_running() -> Callable[[], float]:
    """Start Ray's workers, have them import everything, and give what measures one round."""
    os.environ.update(SETTINGS)
    import ray

    ray.init(
        num_cpus=WORKERS,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        logging_level="error",
        log_to_driver=False,
        # The workers inherit this environment. A runtime_env that says the same goes through a
        # shell, which no path with a space survives (ray 2.60.0).
    )
    remote = ray.remote(num_cpus=1)(run)
    for _ in range(2):  # every worker has imported and kicked off once
        ray.get([remote.remote(request) for request in REQUESTS])

    def measure() -> float:
        start = time.perf_counter()
        _expect_all(ray.get([remote.remote(request) for request in REQUESTS]))
        return time.perf_counter() - start

    return measure


def _expect_all(answers: list[str]) -> None:
    for request, answer in zip(REQUESTS, answers, strict=True):
        if request["company"] not in answer:
            raise AssertionError(f"{request['company']} was answered {answer!r}")
