"""Runs parallel work of several libraries in one process, in the order of its arguments, and prints
what happened as JSON. Run by test_openmp.py, in processes of their own.

Each argument is a library; "threads" runs the work of all of them in threads, "forked" graft's in a
forked child, "loader" graft's in workers of torch's DataLoader.
Then every library works once more, now that all are loaded.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

OTHER_RUNTIME = os.environ.get("OTHER_RUNTIME", "")
OTHER_WORK = os.environ.get("OTHER_WORK", "")


# ---- work: each function returns whether its result is right -------------------------------------


def work_of_graft() -> bool:
    import graft

    rng = np.random.default_rng(0)
    # Arrays that are large enough for two threads.
    networks = [{"conv": rng.standard_normal((512, 64, 3, 3)).astype(np.float32)}
                for _ in range(3)]
    before = [network["conv"].astype(float) for network in networks]
    report = graft.graft(networks, threads=2)
    entropies = []
    for weights in before:
        counts = np.histogram(weights, 10)[0]
        share = counts[counts > 0] / weights.size
        entropies.append(-(share * np.log(share)).sum())
    for k, network in enumerate(networks):
        alpha = 0.4 / np.pi * np.arctan(500 * (entropies[k] - entropies[k - 1])) + 0.5
        expected = alpha * before[k] + (1 - alpha) * before[k - 1]
        if not np.allclose(network["conv"], expected, rtol=1e-6, atol=1e-6):
            return False
    return report is not None


def work_of_numpy() -> bool:
    a = np.arange(250_000, dtype=float).reshape(500, 500) % 7
    ones = np.ones((500, 500))
    return bool(np.array_equal((a @ ones)[:, 0], a.sum(1)))


def work_of_torch() -> bool:
    import torch

    a = torch.arange(250_000, dtype=torch.float64).reshape(500, 500) % 7
    long = torch.arange(2_000_000, dtype=torch.float64)
    return bool(torch.equal((a @ torch.ones(500, 500, dtype=a.dtype))[:, 0], a.sum(1))) and \
        long.mul(2).sum().item() == 2_000_000 * 1_999_999


def work_of_sklearn() -> bool:
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(0)
    which = np.arange(4000) % 2
    points = rng.standard_normal((4000, 8)) + 20 * which[:, None]
    found = KMeans(2, n_init=1, random_state=0).fit_predict(points)
    return bool((found == which).all() or (found != which).all())


def work_of_lightgbm() -> bool:
    import lightgbm

    x = np.random.default_rng(0).standard_normal((2000, 8))
    labels = (x[:, 0] > 0).astype(float)
    data = lightgbm.Dataset(x, labels)
    booster = lightgbm.train({"objective": "binary", "verbosity": -1}, data, 20)
    return bool(((booster.predict(x) > 0.5) == labels).mean() > 0.98)


def work_of_xgboost() -> bool:
    import xgboost

    x = np.random.default_rng(0).standard_normal((2000, 8)).astype(np.float32)
    labels = (x[:, 0] > 0).astype(np.float32)
    booster = xgboost.train(
        {"objective": "binary:logistic", "max_depth": 3}, xgboost.DMatrix(x, labels), 20)
    return bool(((booster.predict(xgboost.DMatrix(x)) > 0.5) == labels).mean() > 0.98)


def work_of_other() -> bool:
    """A parallel loop of a program in C that is linked with another runtime of LLVM's family."""
    ctypes.CDLL(OTHER_RUNTIME)
    work = ctypes.CDLL(OTHER_WORK)
    work.sum_of_squares.restype = ctypes.c_longlong
    return work.sum_of_squares(3000) == sum(i * i for i in range(3000)) and \
        work.team_size() == 2


def work_of_intel() -> bool:
    return work_of_other()


# ---- what is looked at ---------------------------------------------------------------------------


def thread_counts() -> dict[str, Any]:
    """What every library with threads says of itself."""
    from threadpoolctl import threadpool_info

    counts = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        counts["torch"] = (torch.get_num_threads(), torch.get_num_interop_threads())
    return counts


def runtimes() -> list[str]:
    """The files of LLVM's family that are mapped."""
    maps = Path("/proc/self/maps").read_text()
    return sorted(set(re.findall(r"/\S*/libi?omp\S*", maps)))


def team() -> int:
    """How many threads the runtime of LLVM's family has."""
    threads = ctypes.CDLL(runtimes()[0]).__kmpc_global_num_threads
    return int(threads(None))


def in_a_fork(names: list[str]) -> bool:
    child = os.fork()
    if child == 0:
        right = False
        try:
            right = all(WORK[name]() for name in names)
        finally:
            os._exit(0 if right else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class GraftedItems:
    """A data set whose items take a graft to make."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> bool:
        return work_of_graft()


def in_a_loader() -> bool:
    from torch.utils.data import DataLoader

    loader = DataLoader(GraftedItems(), num_workers=2, multiprocessing_context="fork")
    return [bool(item) for item in loader] == [True] * 4


def in_threads(names: list[str]) -> bool:
    with ThreadPoolExecutor(4) as pool:
        return all(pool.map(lambda name: WORK[name](), names * 2))


WORK = {name.removeprefix("work_of_"): function for name, function in list(globals().items())
        if name.startswith("work_of_")}


def main(order: list[str]) -> None:
    names = [name for name in order if name in WORK]
    results: list[tuple[str, bool]] = []
    changed: list[str] = []
    for name in [*order, *names]:
        if name == "forked":
            # Of the others, GNU's runtime hangs in a forked child, with or without graft.
            results.append((name, in_a_fork(["graft"])))
        elif name == "loader":
            results.append((name, in_a_loader()))
        elif name == "threads":
            results.append((name, in_threads(names)))
        else:
            before = thread_counts()
            results.append((name, WORK[name]()))
            after = thread_counts()
            changed += [f"{key}: {before[key]}, {after[key]} after {name}"
                        for key in before if after.get(key) != before[key]]
    print(json.dumps({
        "results": results, "changed": changed, "runtimes": runtimes(), "team": team()}))


if __name__ == "__main__":
    if os.environ.get("PREFIX_OF_PYTHON"):
        sys.prefix = os.environ["PREFIX_OF_PYTHON"]
    main(sys.argv[1:])
