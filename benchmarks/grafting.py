"""How long a graft takes, beside a copy of the same bytes, the published loop, and PyTorch.

Prints a table and writes build/bench/graft.json. All contenders of a case work on the same memory,
in one process, in turn; a number is the median of its rounds.

    make bench-graft            or, after `make build`:
    python benchmarks/grafting.py [--rounds N] [--threads N] [--only PART]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT / "bindings" / "python")]

try:
    import torch
except ImportError:
    raise SystemExit("the contenders need PyTorch: pip install torch") from None

import graft  # noqa: E402
import graft._structures as structures  # noqa: E402
from graft._described_network import DescribedNetwork  # noqa: E402
from graft._errors import check as check_status  # noqa: E402
from graft._library import defaults, lib  # noqa: E402

import alignment  # noqa: E402
import peers  # noqa: E402
import weights  # noqa: E402

BARE = "copy/no-report"
TRACED = "git-rebasin/traced"
COPY_GOAL, PUBLISHED_GOAL, TORCH_GOAL, PEER_GOAL = 2.0, 20.0, 1.0, 1.0
#: A round of a contender that takes longer than this is not repeated as often.
SLOW_SECONDS, SLOW_ROUNDS = 0.5, 3
#: And what takes longer than this is not repeated.
MOST_SECONDS = 20.0
NOTE = """\
What bounds a graft. Copying moves 2 bytes for every byte of the weights: one is read, one written.
A graft that changes nothing unless all is well has to read everything (is it finite? what are its
range, its bins?) before it writes anything, and then reads it again and writes it: 3 bytes, 1.5
copies. The range is needed before the bins; that second look is free of memory traffic only where
the layer is still in the cache. Where it is not, a graft moves 4 bytes: 2 copies. "limit" is a pass
of reading and a copy, as measured here.

What lies above the limit is arithmetic: range, norms and bins of every weight before, the blend in
float64, and range, norms and bins of every result after, which the report tells; and, from Python,
some milliseconds in which the arrays are described and the report is read. "no-report" is a C
program that wants no report and has described its tensors. So 2 copies are out of reach where a
copy is cheap beside that: on a machine with much bandwidth for few cores, where weights are half as
wide (bfloat16), where every network's result is another (two networks get the same one, which is
measured once), and where all networks fit in the cache (ResNet-32, MobileNetV2), which copies many
times faster than memory does; there a fixed cost for every call and tensor counts as well.

Alignment is of two networks drawn independently, against weight matching as Git Re-Basin publishes
it, in NumPy, with what belongs together written down by hand; "traced" reads that off the module
first. Ours begins with a sweep in the order in which evidence becomes known, leaves out groups
whose weights have not changed since, and ends where a pass gains less than a ten-thousandth; its
match is as good (or the benchmark fails). Most of the time of both is matrix products."""


@dataclass
class Case:
    """Contenders that do the same in turn, and what their times are compared with."""

    name: str
    contenders: dict[str, Callable[[], object]]
    #: Before every run: what the last one changed.
    restore: Callable[[], object] = lambda: None
    #: (suffix of the row, the peers' names, goal, whether ours has to be within, not beyond it)
    comparisons: list[tuple[str, list[str], float, bool]] = field(default_factory=list)
    #: Rows for which ours is another contender than "graft".
    ours: dict[str, str] = field(default_factory=dict)
    #: After all rounds: raises where the contenders have not done the same.
    verify: Callable[[], object] = lambda: None
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def run(self, rounds: int, pause: float) -> None:
        self.seconds = {name: [] for name in self.contenders}
        for turn in range(rounds + 1):  # the first is not counted
            for name, contender in self.contenders.items():
                taken = self.seconds[name]
                if len(taken) >= SLOW_ROUNDS and statistics.median(taken) > SLOW_SECONDS:
                    continue
                if taken and taken[0] > MOST_SECONDS:
                    continue
                self.restore()
                time.sleep(pause)  # lets threads that still spin fall asleep
                start = time.perf_counter()
                contender()
                elapsed = time.perf_counter() - start
                if turn > 0 or elapsed > SLOW_SECONDS:
                    taken.append(elapsed)
        self.verify()

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def rows(self) -> list[dict[str, Any]]:
        result = []
        for suffix, names, goal, within in self.comparisons:
            mine = self.ours.get(suffix, "graft")
            ours = self.median(mine)
            best = min(names, key=self.median)
            peer = self.median(best)
            ratio = ours / peer if within else peer / ours
            result.append({
                "case": f"{self.name}/{suffix}", "ours": ours, "peer": peer, "ratio": ratio,
                "goal": goal, "goal_is": "at most" if within else "at least",
                "met": ratio <= goal if within else ratio >= goal, "unit": "s",
                "peer_kind": best, "rounds": len(self.seconds[mine]),
                "spread": max(self.seconds[mine]) / min(self.seconds[mine]),
                **({"limit": self.limit} if within else {}),
            })
        return result

    @property
    def limit(self) -> float:
        """The least time: everything read, then read and written."""
        return self.median("read") + min(self.median(name) for name in self.contenders
                                         if name.startswith("copy: "))


def grafting_case(
    name: str, shapes: weights.Shapes, count: int, dtype: torch.dtype, threads: int
) -> Case:
    originals = [
        {key: torch.from_numpy(np.asarray(w)) for key, w in weights.drawn(shapes, k).items()}
        for k in range(count)]
    originals = [
        {key: w.to(dtype) if w.is_floating_point() else w for key, w in one.items()}
        for one in originals]
    networks = [{key: w.clone() for key, w in one.items()} for one in originals]

    def restore() -> None:
        for own, original in zip(networks, originals):
            for key, w in own.items():
                w.copy_(original[key])

    flat = torch.cat([w.reshape(-1) for one in originals for w in one.values()
                      if w.is_floating_point()])
    copies = {f"copy: {key}": run for key, run in peers.copies(originals).items()}
    ways = {f"torch: {key}": run for key, run in peers.torch_ways(networks).items()}
    contenders = {
        "graft": lambda: graft.graft(networks, threads=threads),
        "graft, C, no report": without_report(networks, threads),
        "published": peers.published(networks), **copies, **ways,
        "read": lambda: torch.aminmax(flat),
    }
    check(contenders, networks, restore)
    return Case(
        f"{name}/k{count}/{str(dtype).removeprefix('torch.')}", contenders, restore, [
            ("copy", list(copies), COPY_GOAL, True), (BARE, list(copies), COPY_GOAL, True),
            ("published", ["published"], PUBLISHED_GOAL, False),
            ("torch", list(ways), TORCH_GOAL, False)], {BARE: "graft, C, no report"})


def without_report(networks: peers.Tensors, threads: int) -> Callable[[], object]:
    """What a C program calls whose networks stay where they are, and that wants no report."""
    described = [DescribedNetwork(network) for network in networks]
    pointers = (ctypes.POINTER(structures.Tensor) * len(described))(
        *[one.pointer for one in described])
    options = defaults(structures.GraftOptions, "graft_options_init")
    options.threads = threads
    size, count = ctypes.sizeof(structures.Tensor), len(described[0])

    def run() -> None:
        check_status(lib.graft_apply(
            None, pointers, size, count, len(described), ctypes.byref(options), None))

    return run


def check(
    contenders: dict[str, Callable[[], object]], networks: peers.Tensors,
    restore: Callable[[], object],
) -> None:
    """All of them do the same, as far as their arithmetic lets them."""
    def result_of(run: Callable[[], object]) -> list[torch.Tensor]:
        restore()
        run()
        return [w.double() for network in networks for w in network.values()
                if w.is_floating_point()]

    half = networks[0][next(iter(networks[0]))].dtype != torch.float32
    ours = result_of(contenders["graft"])
    as_published = result_of(lambda: graft.graft(networks, compatibility=True))
    for name, contender in contenders.items():
        if name.startswith(("torch: ", "graft, ")) or name == "published":
            expected = as_published if name == "published" else ours
            # Entropies of weights in half precision differ, and c = 500 makes that plain.
            tolerance = 0.1 if half else 2e-4
            for own, other in zip(expected, result_of(contender)):
                if (own - other).abs().max() > tolerance:
                    raise SystemExit(f"{name} has another result than the library")


def distillation_case(threads: int) -> Case:
    rng = np.random.default_rng(0)
    student, teacher = rng.standard_normal((2, 1024, 1000)).astype(np.float32) * 3
    labels = rng.integers(0, 1000, 1024)
    tensors = [torch.from_numpy(array) for array in (student, teacher, labels)]
    ways = {"torch: autograd": peers.autograd_loss(*tensors, 2.0),
            "torch: written out": peers.closed_loss(*tensors, 2.0)}

    def ours() -> np.ndarray:
        return graft.distillation_loss(student, [teacher], labels, threads=threads)[1]

    expected = ways["torch: autograd"]().numpy()
    for gradient in (ours(), ways["torch: written out"]()[1].numpy()):
        assert np.abs(gradient - expected).max() < 1e-6
    return Case(
        "distillation/1024x1000/float32", {"graft": ours, **ways},
        comparisons=[("torch", list(ways), TORCH_GOAL, False)])


def alignment_case() -> Case:
    pair = alignment.Pair()
    return Case(
        "alignment/resnet50/float32", pair.contenders(), pair.restore,
        [("git-rebasin", ["Git Re-Basin"], PEER_GOAL, False),
         (TRACED, ["Git Re-Basin"], PEER_GOAL, False)],
        {TRACED: "graft, traced"}, pair.verify)


def cases(threads: int, only: str) -> list[Callable[[], Case]]:
    """Made one at a time: the largest takes gigabytes."""
    def one(name: str, shapes: Callable[[], weights.Shapes], count: int, dtype: torch.dtype):
        return name, lambda: grafting_case(name, shapes(), count, dtype, threads)

    every = [
        one("resnet50", weights.resnet50, 2, torch.float32),
        one("resnet50", weights.resnet50, 8, torch.float32),
        one("resnet50", weights.resnet50, 2, torch.bfloat16),
        one("mobilenet_v2", weights.mobilenet_v2, 2, torch.float32),
        one("resnet32", weights.resnet32, 2, torch.float32),
        ("distillation", lambda: distillation_case(threads)),
        ("alignment", alignment_case),
    ]
    return [make for name, make in every if only in name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two runs")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument(
        "--output", type=Path, help="the file; build/bench/graft.json unless --only is given")
    parser.add_argument("--times", action="store_true", help="every contender's median as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    print(f"{'case':40} {'ours, ms':>9} {'peer, ms':>9} {'ratio':>7} {'goal':>8}  "
          f"{'':4} {'limit, ms':>9}  peer")
    for make in cases(options.threads, options.only):
        case = make()
        case.run(options.rounds, options.pause)
        for row in case.rows():
            rows.append(row)
            show(row)
        if options.times:
            for name in case.contenders:
                print(f"    {name:34} {case.median(name) * 1e3:9.3f}")
        del case
        gc.collect()
    print(f"\nMedians of {options.rounds} rounds in turn ({SLOW_ROUNDS} of what takes over "
          f"{SLOW_SECONDS} s, one of what takes over {MOST_SECONDS:.0f} s), {options.threads} "
          f"threads, {graft.instructions()}.\n\n{NOTE}")
    output = options.output
    if output is None and not options.only:
        output = ROOT / "build" / "bench" / "graft.json"
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(rows, indent=1) + "\n")
        print(f"\nWritten to {output}.")


def show(row: dict[str, Any]) -> None:
    sign = "<=" if row["goal_is"] == "at most" else ">="
    limit = f"{row['limit'] * 1e3:9.3f}" if "limit" in row else " " * 9
    print(f"{row['case']:40} {row['ours'] * 1e3:9.3f} {row['peer'] * 1e3:9.3f} "
          f"{row['ratio']:7.2f} {sign:>3} {row['goal']:4.0f}  "
          f"{'' if row['met'] else 'MISS':4} {limit}  {row['peer_kind']}", flush=True)


if __name__ == "__main__":
    main()
