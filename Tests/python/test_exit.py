"""A process that leaves with handles alive, or while a thread is in the library, ends with its own
code, whatever is freed in what order, and says nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("GRAFT_LIBRARY", ROOT / "build" / "libgraft.so")).resolve()
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python"),
               "GRAFT_LIBRARY": str(LIBRARY)}

# Destructors of libraries take their time, as those of large programs do: threads go on meanwhile.
SLOW = """
#include <unistd.h>
__attribute__((destructor)) static void slow(void) { usleep(20000); }
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    folder = tmp_path_factory.mktemp("exits")
    (folder / "slow.c").write_text(SLOW)
    (folder / "libgraft.so.0").symlink_to(LIBRARY)
    subprocess.run(
        ["gcc", "-shared", "-fPIC", folder / "slow.c", "-o", folder / "slow.so"], check=True)
    subprocess.run(
        ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'Include'}",
         ROOT / "Tests" / "cpp" / "exits.cpp", LIBRARY, f"-Wl,-rpath,{folder}", "-pthread", "-o",
         folder / "exits"], check=True)
    return ["env", f"LD_PRELOAD={folder / 'slow.so'}", folder / "exits"]


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("how", [
    "while-a-thread-trains", "from-another-thread", "with-handles-alive", "after-main"])
def test_a_program_ends_with_its_own_code(how: str, threads: int, program: list) -> None:
    for milliseconds in range(1, 22, 2):
        run = subprocess.run(
            [*program, how, str(threads), str(milliseconds)], capture_output=True, text=True,
            timeout=60)
        assert (run.returncode, run.stderr) == (7, ""), f"after {milliseconds} ms"


@pytest.mark.parametrize("how", [
    "while-threads-graft", "while-threads-come-and-go", "from-a-callback", "in-a-child",
    "quickly"])
def test_a_program_that_works_in_parallel_ends_with_its_own_code(how: str, program: list) -> None:
    for milliseconds in range(1, 80, 4):
        run = subprocess.run(
            [*program, how, "3", str(milliseconds)], capture_output=True, text=True, timeout=60)
        assert (run.returncode, run.stderr) == (7, ""), f"after {milliseconds} ms"


PREPARED = """
import atexit, gc, os, sys, threading, time
import numpy as np
import graft

def make(epochs=1000):
    data = graft.Dataset.from_arrays(np.zeros((32, 3, 8, 8), np.float32), np.arange(32) % 4, 4)
    networks = [graft.resnet(8, 4, (3, 8, 8), base_filters=4, seed=seed) for seed in (0, 1)]
    return graft.Trainer(networks, data, epochs=epochs, batch_size=16, threads=2,
                         grafting=graft.Grafting())

trainer = make(1)
trainer.run()
views = trainer.networks[0].state_dict()
"""


@pytest.mark.parametrize("rest", [
    # Everything lives on in the module's globals, and in the library's own module.
    "graft.kept = (trainer, views, make())",
    # A cycle that only the interpreter's end collects.
    "gc.disable(); a = [trainer]; a.append(a); del trainer, views, a",
    # Freed when modules are half gone.
    "class Last:\n    def __del__(self, held=[trainer, views]): held.clear()\nsys.last = Last()",
    "atexit.register(lambda: make(1).run()); atexit.register(trainer.networks.clear)",
    # Daemon threads that train and that graft when the interpreter leaves.
    "threading.Thread(target=make().run, daemon=True).start(); time.sleep(0.05)",
    "def forever():\n    own, other = ({'w': np.ones((64, 64, 3, 3))} for _ in range(2))\n"
    "    while True: graft.graft([own, other])\n"
    "[threading.Thread(target=forever, daemon=True).start() for _ in range(3)]; time.sleep(0.05)",
    # Out of the main thread's hands, and from a thread of its own.
    "thread = threading.Thread(target=lambda t: t.networks.clear(), args=(trainer,))\n"
    "del trainer\nthread.start()",
    # A forked child that leaves as programs do.
    "child = os.fork()\nif child: assert os.waitpid(child, 0)[1] == 3 << 8\nelse: sys.exit(3)",
], ids=["globals", "cycle", "half-gone", "atexit", "daemon-trains", "daemons-graft", "a-thread",
        "child"])
def test_an_interpreter_ends_with_its_own_code(rest: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PREPARED + rest + "\nsys.exit(3)"], capture_output=True, text=True,
        timeout=60, cwd=tmp_path, env=ENVIRONMENT)
    assert (run.returncode, run.stderr) == (3, "")
