"""A rank of examples/mpi that is killed or stopped at any moment of a graft leaves every other with
an error in bounded time, and its network as it was before the graft or as it is after it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from test_examples import train
from test_install import tool

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("GRAFT_LIBRARY", ROOT / "build" / "libgraft.so")).resolve()
RANKS, LOST = 3, 1
#: Seconds that a rank waits for the others; and it gives them as long again to notice.
PATIENCE = 3
KILLED, STOPPED = signal.SIGKILL, signal.SIGSTOP
#: What the others come to. Where a rank goes while all agree, one may have heard of it and another
#: not: either is right.
BEFORE, AFTER, EITHER = {"LOST"}, {"GRAFT_OK"}, {"LOST", "GRAFT_OK"}

CASES = [
    (STOPPED, "start", BEFORE), (STOPPED, "when it has sent", BEFORE),
    (STOPPED, "while all agree", EITHER), (STOPPED, "before it writes", AFTER),
    (STOPPED, "at the end", AFTER), (KILLED, "before it sends", BEFORE),
    (KILLED, "before it agrees", BEFORE), (KILLED, "before it writes", AFTER),
]


class Result(NamedTuple):
    seconds: float
    status: int
    output: str
    #: Every rank's network, as it kept it last.
    files: list[bytes]

    def told(self) -> dict[int, str]:
        return {int(rank): status
                for rank, status in re.findall(r"^rank (\d) +(\w+) +alpha", self.output, re.M)}


class Job:
    """The example, built, and what a rank is lost with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "libgraft.so.0").symlink_to(LIBRARY)
        strict = ["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", ROOT / "Include"]
        mpicc = tool("mpicc", "libopenmpi-dev")
        subprocess.run(
            [mpicc, "-std=c99", *strict, ROOT / "examples" / "mpi" / "ring.c", LIBRARY, "-o",
             folder / "ring", f"-Wl,-rpath,{folder}", "-lm"], check=True)
        subprocess.run(
            [mpicc, "-shared", "-fPIC", *strict, ROOT / "Tests" / "mpi" / "lose_a_rank.c", "-o",
             folder / "lose.so", "-ldl"], check=True)

    def run(self, name: str, *options: str, **lose: str) -> Result:
        kept = self.folder / name
        kept.mkdir()
        environment = {
            **os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMP_NUM_THREADS": "1", **lose}
        start = time.monotonic()
        run = subprocess.run(
            [tool("mpirun", "openmpi-bin"), "--oversubscribe", *options, "-n", str(RANKS),
             str(self.folder / "ring"), "-1", str(PATIENCE), str(kept)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
            env=environment)
        seconds = time.monotonic() - start
        files = [(kept / f"network-{rank}.bin").read_bytes() for rank in range(RANKS)]
        return Result(seconds, run.returncode, run.stdout, files)

    def lose(self, how: int, moment: str, recovers: bool) -> Result:
        # Where a rank dies, Open MPI's mpirun ends all the others but with --enable-recovery.
        return self.run(
            f"{how} {moment} {recovers}", *(["--enable-recovery"] if recovers else []),
            "-x", f"LD_PRELOAD={self.folder / 'lose.so'}",
            LOSE_RANK=str(LOST), LOSE_SIGNAL=str(int(how)), LOSE_MOMENT=moment)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return Job(tmp_path_factory.mktemp("mpi"))


@pytest.fixture(scope="module")
def whole(job: Job) -> list[tuple[bytes, bytes]]:
    """Every rank's network before the graft, by NumPy, and after it, of a run that lost nobody."""
    result = job.run("whole")
    assert result.status == 0, result.output
    before = [b"".join(part.astype(np.float32).tobytes() for part in train(rank).values())
              for rank in range(RANKS)]
    assert all(len(one) == len(other) and one != other
               for one, other in zip(before, result.files))
    return list(zip(before, result.files))


@pytest.fixture(scope="module")
def results(job: Job) -> dict[tuple[int, str], Result]:
    """All cases, several at once: they wait most of the time."""
    with ThreadPoolExecutor(4) as pool:
        jobs = {(how, moment): pool.submit(job.lose, how, moment, how == KILLED)
                for how, moment, _ in CASES}
        return {case: one.result() for case, one in jobs.items()}


@pytest.mark.parametrize("how, moment, expected", CASES, ids=[
    f"{how.name} {moment}" for how, moment, _ in CASES])
def test_a_rank_is_lost(
        how: signal.Signals, moment: str, expected: set[str],
        results: dict[tuple[int, str], Result], whole: list[tuple[bytes, bytes]]) -> None:
    result = results[how, moment]
    told = result.told()
    for rank in range(RANKS):
        if rank == LOST:
            assert result.files[rank] in whole[rank]
            continue
        assert told.get(rank) in expected, result.output
        assert result.files[rank] == whole[rank][told[rank] == "GRAFT_OK"], rank
        assert f"rank {rank}: another rank has not answered" in result.output
    # Twice the patience, what mpirun takes to begin and to end, and a slow machine.
    assert result.seconds < 2 * PATIENCE + 15


def test_a_rank_that_dies_ends_the_others_where_mpi_has_it_so(
        job: Job, whole: list[tuple[bytes, bytes]]) -> None:
    result = job.lose(KILLED, "before it agrees", False)
    assert result.status != 0 and result.seconds < 15
    for rank in range(RANKS):
        assert result.files[rank] in whole[rank]
