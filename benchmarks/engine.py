"""The engine beside PyTorch: images a second, memory, and how time grows: `make bench`.

PyTorch runs as contiguous, as channels_last, and as one single-thread process a core; the best of
their medians is the peer. All run in turn, in processes of their own. Prints a table, writes
build/bench/engine.json and machine.json, and draws engine.png and growth.png.

    make bench [QUICK=1] [CASES="resnet20 vgg16/train"] [ARGS="--minutes 20"]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bindings" / "python")]
import drawing  # noqa: E402
import machine  # noqa: E402
from cases import MEMORY_GOAL, Case, cases, chosen  # noqa: E402
from side_by_side import ROOT, Group, interleave  # noqa: E402
from workers import has_bfloat16  # noqa: E402

TARGET = ROOT / "build" / "bench"
#: Minutes that all cases together take about, and the most and least seconds of rounds of each.
MINUTES, QUICK_MINUTES = 20.0, 2.2
MOST_SECONDS, LEAST_SECONDS = 40.0, 3.0
NOTE = """\
Images a second, medians of rounds in turn; PyTorch at its best of contiguous, channels_last and one
single-thread process a core. "peak" is the share of the multiply-adds that this machine was seen to
do just before, convolutions counted as they are defined: Winograd's way needs fewer. MiB are the
processes' peak memory, Python and libraries included; their ratio is against the way of PyTorch
that took least. "busy" is how many processors others kept busy: far from 0, the numbers are worth
little. k2 is two networks in one trainer, batches prepared and a graft after every 8, beside two
PyTorch processes that do neither."""


def groups_of(case: Case) -> list[Group]:
    network = case.network
    common = {
        "shape": network.shape, "classes": network.classes, "batch": network.batch,
        "mode": case.mode, "threads": case.threads, "dtype": case.dtype,
        "networks": case.networks, "network": network.function, "arguments": network.arguments,
        "module": network.module, "module_arguments": network.module_arguments,
    }
    theirs = {**common, "library": "pytorch", "layout": "contiguous"}
    single = {**theirs, "threads": 1, "layout": "channels_last"}
    groups = [Group("ours", [{**common, "library": "ours"}])]
    if case.networks == 1:
        groups += [
            Group("contiguous", [theirs]),
            Group("channels_last", [{**theirs, "layout": "channels_last"}])]
    processes = max(case.networks, case.threads)
    if processes > 1:
        groups.append(Group("processes", [single] * processes))
    return groups


def measure(case: Case, seconds: float, rounds: int) -> dict[str, Any]:
    can = machine.peak(case.threads).of(case.dtype)
    groups = groups_of(case)
    try:
        interleave(groups, seconds, (rounds, max(rounds, 9)))
    finally:
        for group in groups:
            group.close()
    own, peers = groups[0], groups[1:]
    best = max(peers, key=lambda group: group.median)
    leanest = min(peers, key=lambda group: group.peak)
    ratio, memory = own.median / best.median, own.peak / leanest.peak
    operations = own.told["operations"]
    return {
        "case": case.name, "ours": own.median, "peer": best.median, "ratio": ratio,
        "goal": case.goal, "met": ratio >= case.goal, "peer_kind": best.name, "unit": "images/s",
        "peers": {group.name: group.median for group in peers},
        "spread": max(own.rates) / min(own.rates), "rounds": len(own.rates),
        "network": case.network.name, "batch": case.network.batch, "threads": case.threads,
        "networks": case.networks, "growth": case.growth,
        "gigaflops": operations * own.median / 1e9, "peak_share": operations * own.median / can,
        "peer_peak_share": operations * best.median / can,
        "peak_mib": own.peak, "peer_peak_mib": leanest.peak, "memory_ratio": memory,
        "memory_goal": MEMORY_GOAL, "memory_met": memory <= MEMORY_GOAL,
        "others_busy": max(
            0.0, sum(group.others for group in groups) / sum(group.seconds for group in groups)),
    }


HEADER = (f"{'case':34} {'ours':>7} {'PyTorch':>7} {'as':13} {'ratio':>5} {'goal':>4} {'':5}"
          f"{'peak':>5} {'theirs':>6} {'MiB':>6} {'theirs':>6} {'ratio':>5} {'':5}{'busy':>4}")


def line(row: dict[str, Any]) -> str:
    def mark(met: bool) -> str:
        return "" if met else "MISS"

    return (
        f"{row['case']:34} {row['ours']:7.1f} {row['peer']:7.1f} {row['peer_kind']:13} "
        f"{row['ratio']:5.2f} {row['goal']:4.1f} {mark(row['met']):5}"
        f"{row['peak_share']:5.0%} {row['peer_peak_share']:6.0%} {row['peak_mib']:6.0f} "
        f"{row['peer_peak_mib']:6.0f} {row['memory_ratio']:5.2f} {mark(row['memory_met']):5}"
        f"{row['others_busy']:4.1f}")


def growth_table(rows: list[dict[str, Any]]) -> str:
    """How the time of an image changes with each of what grows."""
    series = {name: points for name, points in drawing.growth(rows).items() if len(points) > 1}
    lines = [f"\n{'milliseconds an image':34} {'ours':>8} {'PyTorch':>8} {'ratio':>6}\n"]
    for name, points in series.items():
        for at, ours, peer in points:
            where = f"{drawing.LABELS[name][1]}, {name} {at}"
            lines.append(f"{where:34} {1e3 / ours:8.3f} {1e3 / peer:8.3f} {ours / peer:6.2f}\n")
    return "".join(lines) if series else ""


def tell(text: str) -> None:
    """Progress, on standard error: a line that the next one takes the place of on a terminal."""
    terminal = sys.stderr.isatty()
    print(f"\r\033[K{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr,
          flush=True)


def install_models() -> None:
    """Brings torchvision into the folder that the tests keep it in."""
    subprocess.run(
        [sys.executable, "-c", "import test_torch_models; test_torch_models.install()"],
        cwd=ROOT / "Tests" / "python", check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="ResNet-20 and MobileNetV2 alone")
    parser.add_argument(
        "--cases", default="", help="patterns of names, such as 'resnet20 */inference'")
    parser.add_argument("--list", action="store_true", help="the cases' names, and nothing else")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--minutes", type=float, help="about how long all of it may take")
    parser.add_argument("--rounds", type=int, default=3, help="no fewer than these of each case")
    parser.add_argument("--output", type=Path, default=TARGET, help="the folder for what it writes")
    options = parser.parse_args()
    every = cases(options.threads, options.quick, has_bfloat16())
    if options.cases:
        every = chosen(every, options.cases.split())
    if not every:
        raise SystemExit(f"no case is called '{options.cases}'; --list names them")
    if options.list:
        print(*(case.name for case in every), sep="\n")
        return
    if any(case.network.module.startswith("torchvision") for case in every):
        install_models()
    run(every, options.minutes or (QUICK_MINUTES if options.quick else MINUTES),
        options.threads, options.rounds, options.output)


def run(every: list[Case], minutes: float, threads: int, rounds: int, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    told = machine.described(threads)
    print(f"{told['processor']}, {told['instructions']}, {threads} threads of {told['cores']} "
          f"cores: {told['peak_float32'] / 1e9:.0f} GFLOP/s float32, "
          f"{told['peak_bfloat16'] / 1e9:.0f} bfloat16, copies {told['copy_bandwidth'] / 1e9:.1f} "
          f"GB/s; load {told['load']:.1f}; PyTorch {told['pytorch']}\n\n{HEADER}", flush=True)
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    for number, case in enumerate(every):
        passed = time.perf_counter() - began
        left = max(0.0, 60 * minutes - passed)
        tell(f"{number + 1} of {len(every)}: {case.name}; {passed / 60:.1f} min passed, about "
             f"{left / 60:.1f} left")
        # Of a case's time about half goes into starting its processes and their first steps.
        seconds = left / (len(every) - number) / 2
        rows.append(measure(case, min(MOST_SECONDS, max(LEAST_SECONDS, seconds)), rounds))
        tell("") if sys.stderr.isatty() else None
        print(line(rows[-1]), flush=True)
        (target / "engine.json").write_text(json.dumps(rows, indent=1) + "\n")
    told["load_after"] = os.getloadavg()[0]
    told["others_busy"] = sum(row["others_busy"] for row in rows) / len(rows)
    (target / "machine.json").write_text(json.dumps(told, indent=1) + "\n")
    pictures = drawing.draw(rows, target)
    print(growth_table(rows), end="")
    print(f"\n{NOTE}\n\nGoals met: {sum(row['met'] for row in rows)} of {len(rows)} in speed, "
          f"{sum(row['memory_met'] for row in rows)} of {len(rows)} in memory. Others kept "
          f"{told['others_busy']:.1f} processors busy. "
          f"{(time.perf_counter() - began) / 60:.1f} minutes.\nWritten: "
          + ", ".join(str(path) for path in (target / "engine.json", *pictures)))


if __name__ == "__main__":
    main()
