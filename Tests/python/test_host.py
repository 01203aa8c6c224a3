"""What a host program does around the library: threads, forks, dlclose, exit in the middle."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import graft

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("GRAFT_LIBRARY", ROOT / "build" / "libgraft.so")).resolve()
THREADS = 16
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python"),
               "GRAFT_LIBRARY": str(LIBRARY)}


def a_network(seed: int) -> graft.Network:
    return graft.resnet(8, 4, (3, 8, 8), base_filters=4, seed=seed)


def graft_some(seed: int) -> bytes:
    """Grafts of arrays of one's own."""
    rng = np.random.default_rng(seed)
    models = [{"conv.weight": rng.standard_normal((32, 16, 3, 3)).astype(np.float32),
               "conv.bias": rng.standard_normal(32).astype(np.float32)} for _ in range(3)]
    for _ in range(5):
        graft.graft(models)
    return b"".join(array.tobytes() for model in models for array in model.values())


def train_some(seed: int) -> bytes:
    """A run of two networks that graft each other."""
    rng = np.random.default_rng(seed)
    data = graft.Dataset.from_arrays(
        rng.integers(0, 256, (32, 3, 8, 8), dtype=np.uint8), rng.integers(0, 4, 32), 4)
    trainer = graft.Trainer(
        [a_network(seed), a_network(seed + 1)], data, epochs=2, batch_size=16, threads=2,
        grafting=graft.Grafting())
    trainer.run()
    return b"".join(
        array.tobytes() for network in trainer.networks for array in network.state_dict().values())


def load_some(seed: int, folder: Path) -> bytes:
    """Weights to a file and back."""
    path = folder / f"{seed}.safetensors"
    for _ in range(5):
        a_network(seed).save(path)
        loaded = a_network(seed + 1)
        loaded.load(path)
    return b"".join(array.tobytes() for array in loaded.state_dict().values())


def work(index: int, folder: Path) -> bytes:
    kind = index % 3
    if kind == 0:
        return graft_some(index)
    return train_some(index) if kind == 1 else load_some(index, folder)


def test_many_threads_with_handles_of_their_own(tmp_path: Path) -> None:
    alone = [work(index, tmp_path) for index in range(THREADS)]
    together: list[bytes | None] = [None] * THREADS
    start = threading.Barrier(THREADS)

    def run(index: int) -> None:
        start.wait()
        together[index] = work(index, tmp_path)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


@pytest.mark.parametrize("aware", [True, False], ids=["", "unaware"])
@pytest.mark.parametrize("before", [False, True], ids=["before", "after"])
def test_a_fork_and_parallel_work(before: bool, aware: bool, tmp_path: Path) -> None:
    """The child, forked before or after the parent has worked in parallel, gets the same bits, also
    where the OpenMP runtime does not notice forks (as joblib, and so scikit-learn, asks of it)."""
    program = f"""
import ctypes, os, sys
import numpy as np
import graft
x = np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)
network = graft.resnet(8, 4, (3, 8, 8), base_filters=4)
network.threads = 2
if {before}:
    network.forward(x)
child = os.fork()
result = network.forward(x).tobytes()
if child == 0:
    again = os.fork()
    if again == 0:
        os._exit(0 if network.forward(x).tobytes() == result else 1)
    assert os.waitpid(again, 0)[1] == 0
    open(sys.argv[1], "wb").write(result)
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0
assert open(sys.argv[1], "rb").read() == result
assert ctypes.CDLL(os.environ["GRAFT_LIBRARY"]).__kmpc_global_num_threads(None) >= 2
"""
    subprocess.run(
        [sys.executable, "-c", program, tmp_path / "child"], check=True, timeout=60,
        env=ENVIRONMENT if aware else {**ENVIRONMENT, "KMP_INIT_AT_FORK": "FALSE"})


@pytest.mark.parametrize("aware", [True, False], ids=["", "unaware"])
def test_forks_while_other_threads_multiply(aware: bool) -> None:
    """A fork takes the lock around OpenBLAS with it only when nobody holds it."""
    program = """
import os, threading
import numpy as np
import graft
x = np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype(np.float32)
def forever():
    network = graft.resnet(8, 4, (3, 8, 8), base_filters=4)
    while True:
        network.forward(x)
for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
mine = graft.resnet(8, 4, (3, 8, 8), base_filters=4)
mine.threads = 1
expected = mine.forward(x)
for _ in range(40):
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(mine.forward(x), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
"""
    # It ends with the threads still multiplying: exit must not crash them either.
    subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=120,
        env=ENVIRONMENT if aware else {**ENVIRONMENT, "KMP_INIT_AT_FORK": "FALSE"})


def test_signals_in_the_middle_of_files_and_kernels(tmp_path: Path) -> None:
    """A timer's signals, 2,000 a second, interrupt system calls and loops."""
    expected = [work(index, tmp_path) for index in range(3)]
    calls = []
    before = signal.signal(signal.SIGALRM, lambda *_: calls.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        got = [work(index, tmp_path) for index in range(3)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert calls and got == expected


def test_dlclose_and_a_second_dlopen(tmp_path: Path) -> None:
    source = tmp_path / "reopen.c"
    source.write_text("""
#include <dlfcn.h>
#include <stdio.h>
#include <stdint.h>
#include "graft.h"
int main(int count, char **arguments) {
  (void)count;
  for (int i = 0; i < 5; ++i) {
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return puts(dlerror()), 1;
    void (*defaults)(graft_resnet_options *, size_t);
    graft_status (*make)(const graft_resnet_options *, graft_network **);
    void (*end)(graft_network *);
    *(void **)&defaults = dlsym(library, "graft_resnet_options_init");
    *(void **)&make = dlsym(library, "graft_network_resnet");
    *(void **)&end = dlsym(library, "graft_network_destroy");
    graft_resnet_options options;
    graft_network *network = NULL;
    defaults(&options, sizeof options);
    if (make(&options, &network) != GRAFT_OK) return 3;
    end(network);
    if (dlclose(library) != 0) return 4;
  }
  return 0;
}
""")
    program = tmp_path / "reopen"
    subprocess.run(["gcc", "-std=c99", "-D_GNU_SOURCE", "-I", ROOT / "Include", source, "-ldl",
                    "-o", program], check=True)
    run = subprocess.run([program, LIBRARY], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, "")


# ---- what the host has set for itself ------------------------------------------------------------


UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}  # FE_UPWARD


@pytest.fixture
def rounding() -> Iterator[Callable[[bool], bool]]:
    """Has this thread round every sum and product up, or to nearest; tells what it did before."""
    mathematics, up = ctypes.CDLL("libm.so.6"), UPWARD[platform.machine()]

    def switch(upward: bool) -> bool:
        before = mathematics.fegetround() == up
        assert mathematics.fesetround(up if upward else 0) == 0
        return before

    yield switch
    switch(False)


def test_the_hosts_rounding_changes_no_result_and_stays(rounding, tmp_path: Path) -> None:
    data = graft.Dataset.from_arrays(
        np.arange(32 * 192, dtype=np.uint8).reshape(32, 3, 8, 8), np.arange(32) % 4, 4)
    models = [np.random.default_rng(k).standard_normal((8, 4, 3, 3)) for k in range(3)]
    modes: list[bool] = []

    def results(upward: bool) -> list[object]:
        grafted = [{"w": model.copy()} for model in models]
        networks = [a_network(seed) for seed in (1, 2)]
        trainer = graft.Trainer(
            networks, data, data, epochs=2, batch_size=16, threads=2, grafting=graft.Grafting(),
            teaching="others", schedule="cosine")
        rounding(upward)  # from here on no arithmetic of NumPy's
        report = graft.graft(grafted, dry_run=True).to_dict()
        graft.graft(grafted)
        coefficient = graft.coefficient(1.3, 1.1, 0.7, 3.0)
        trainer.run(lambda progress: modes.append(rounding(upward)))
        trainer.save(tmp_path / "run")
        evaluation = graft.evaluate(networks[0], data)
        drawn = a_network(3)
        assert rounding(False) == upward
        arrays = [model["w"] for model in grafted]
        for network in (*networks, drawn):
            arrays += network.state_dict().values()
        times = [(r.train_loss, r.test_loss, r.learning_rate) for r in trainer.history]
        return [report, coefficient, evaluation, times, [array.tobytes() for array in arrays]]

    expected = results(False)
    assert not any(modes)
    modes.clear()
    assert results(True) == expected
    assert modes and all(modes)
