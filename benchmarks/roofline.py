"""Where a training step's time goes, layer by layer, and what share of the roofline each reaches.

For every layer and pass: its time in the real step (graft.Network.timing), operations and bytes a
second, the least time that this machine's multiply-adds and copies allow, as measured here, and
what the rest is spent on. Then the step by kind of operation. Writes build/bench/roofline.json and
draws roofline.png.

    make bench-layers [ARGS="resnet20 vgg16 --rounds 9"]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bindings" / "python")]

import graft  # noqa: E402

import machine  # noqa: E402
import workers  # noqa: E402
from cases import BY_NAME, Network  # noqa: E402
from counting import Counted, counted  # noqa: E402

TARGET = HERE.parent / "build" / "bench"
#: Images of a batch that stays in the caches.
SMALL = 4
#: Passes that take less than this share of the step are shown together.
LEAST_SHARE = 0.004
NOTE = """\
limit: the least time, by arithmetic (A: multiply-adds of the direct convolution) or by memory (M:
every number that a pass has to read or write, once, at the rate of a copy); roof: its share of the
time. The rest, in per cent of the time: "memory", how much longer it takes than with a batch so
small that it stays in the caches; "threads", how much longer than the same on one thread divided by
their number; "code", what remains: instructions that are no multiply-adds (transforms, batch norm
and rectifier on the way in, edges), lanes that are not filled, latency. Winograd's way takes fewer
multiplications than are counted, so that a roof beyond 100 % is possible where it is used."""


@dataclass
class Pass:
    """A layer's forward or backward pass over a whole batch; times in seconds."""

    layer: str
    kind: str
    direction: str
    seconds: float
    operations: float
    bytes: float
    limit: float
    bound: str
    code: float
    memory: float
    threads: float

    @property
    def roof(self) -> float:
        return self.limit / self.seconds


def traffic(layer: Counted, backward: bool, normalised: bool) -> float:
    """Bytes that a pass over one image has to move, each number once."""
    if layer.kind in ("convolution", "linear"):
        if not backward:
            numbers = layer.inputs + layer.outputs
        else:  # output gradient, with a batch norm after it the output too; input; its gradient
            numbers = layer.outputs * (2 if normalised else 1) + layer.inputs * (
                1 if layer.reads_images else 2)
    elif layer.kind == "batch_norm":  # its sums alone; what is left is the convolution's
        numbers = 2 * layer.outputs if backward else 0
    elif layer.kind == "relu":
        numbers = 0
    elif layer.kind == "sum":
        numbers = 2 * layer.outputs if backward else layer.inputs + layer.outputs
    else:
        numbers = layer.inputs + layer.outputs
    return 4 * numbers


class Stepper:
    """A network that trains on one batch, and how long its parts take in each step."""

    def __init__(self, network: Network, batch: int, threads: int) -> None:
        case = {
            "network": network.function, "arguments": network.arguments, "shape": network.shape,
            "threads": threads, "dtype": "float32"}
        self.network = workers.our_network(case)
        self.images, self.labels = workers.batch(network.shape, batch, network.classes)
        self.sgd = graft.SGD(self.network, learning_rate=0.01, momentum=0.9, weight_decay=5e-4)
        self.parts: dict[str, list[float]] = defaultdict(list)
        self.times: list[list[tuple[float, float]]] = []

    def step(self, counts: bool = True) -> None:
        self.network.timing = True
        marks = [time.perf_counter()]
        logits = self.network.forward(self.images, training=True)
        marks.append(time.perf_counter())
        _, gradient = graft.distillation_loss(logits, [], self.labels)
        marks.append(time.perf_counter())
        self.network.backward(gradient)
        marks.append(time.perf_counter())
        self.sgd.step()
        marks.append(time.perf_counter())
        if not counts:
            return
        times = self.network.operation_times()
        forward, loss, backward, sgd = (b - a for a, b in zip(marks, marks[1:]))
        self.times.append(times)
        self.parts["step"].append(marks[-1] - marks[0])
        self.parts["images in, logits out"].append(forward - sum(f for f, _ in times))
        self.parts["loss"].append(loss)
        self.parts["gradient in"].append(backward - sum(b for _, b in times))
        self.parts["SGD"].append(sgd)

    def medians(self) -> list[tuple[float, float]]:
        return [
            (statistics.median(one[0] for one in steps), statistics.median(one[1] for one in steps))
            for steps in zip(*self.times)]

    def part(self, name: str) -> float:
        return statistics.median(self.parts[name])


def measure(
    network: Network, threads: int, rounds: int
) -> tuple[list[Pass], dict[str, float], machine.Peak]:
    """All passes, and the parts of the step that are none."""
    can = machine.peak(threads)
    steppers = [
        Stepper(network, network.batch, threads), Stepper(network, network.batch, 1),
        Stepper(network, SMALL, 1)]
    for stepper in steppers:
        stepper.step(counts=False)
    for _ in range(rounds):
        for stepper in steppers:
            for _ in range(5 if stepper is steppers[2] else 1):
                stepper.step()
    full, alone, small = (stepper.medians() for stepper in steppers)
    layers = counted(steppers[0].network)
    operations = steppers[0].network.operations()
    normalised = {
        operation.inputs[0] for operation in operations if operation.kind == "batch_norm"}
    passes = []
    for layer in layers:
        for way, direction in enumerate(("forward", "backward")):
            seconds = full[layer.index][way]
            work = network.batch * (layer.backward if way else layer.forward)
            moved = network.batch * traffic(layer, bool(way), layer.index in normalised)
            moved += 4 * layer.weights * (2 if way else 1)
            arithmetic, memory = work / can.float32, moved / can.copy
            limit = max(arithmetic, memory)
            one, cached = alone[layer.index][way], small[layer.index][way]
            waits = max(0.0, seconds - one / threads)
            cold = max(0.0, one - cached * network.batch / SMALL) / threads
            passes.append(Pass(
                layer.name or layer.kind, layer.kind, direction, seconds, work, moved, limit,
                "A" if arithmetic >= memory else "M",
                max(0.0, seconds - waits - cold - limit), cold, waits))
    parts = {name: steppers[0].part(name) for name in steppers[0].parts}
    return passes, parts, can


def show(network: Network, passes: list[Pass], parts: dict[str, float]) -> None:
    step = parts["step"]
    print(f"\n{network.name}, a step of {network.batch} images: {step * 1e3:.1f} ms, "
          f"{network.batch / step:.0f} images/s\n")
    print(f"{'layer':30} {'pass':8} {'ms':>8} {'step':>6} {'GFLOP/s':>8} {'GB/s':>6} "
          f"{'limit, ms':>9}   {'roof':>5}   {'code':>5} {'memory':>6} {'threads':>7}")
    small = [one for one in passes if one.seconds < LEAST_SHARE * step]
    for one in passes:
        if one.seconds >= LEAST_SHARE * step:
            print(
                f"{one.layer:30} {one.direction:8} {one.seconds * 1e3:8.3f} "
                f"{one.seconds / step:6.1%} {one.operations / one.seconds / 1e9:8.1f} "
                f"{one.bytes / one.seconds / 1e9:6.1f} {one.limit * 1e3:9.3f} {one.bound} "
                f"{one.roof:5.0%}   {one.code / one.seconds:5.0%} "
                f"{one.memory / one.seconds:6.0%} {one.threads / one.seconds:7.0%}")
    rest = sum(one.seconds for one in small)
    print(f"{f'{len(small)} passes shorter than that':39} {rest * 1e3:8.3f} {rest / step:6.1%}")
    limit = sum(one.limit for one in passes)
    print(f"{'all passes':39} {sum(one.seconds for one in passes) * 1e3:8.3f} "
          f"{sum(one.seconds for one in passes) / step:6.1%} "
          f"{sum(one.operations for one in passes) / step / 1e9:8.1f} {'':6} {limit * 1e3:9.3f}   "
          f"{limit / step:5.0%}")


def profile(passes: list[Pass], parts: dict[str, float]) -> list[dict[str, Any]]:
    """The step by kind of operation, the longest first."""
    kinds: dict[tuple[str, str], float] = defaultdict(float)
    for one in passes:
        kinds[one.kind, one.direction] += one.seconds
    rows = [{"operation": f"{kind}, {direction}", "seconds": seconds}
            for (kind, direction), seconds in kinds.items() if seconds > 0]
    rows += [{"operation": name, "seconds": seconds}
             for name, seconds in parts.items() if name != "step"]
    return sorted(rows, key=lambda row: -row["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["resnet20", "mobilenet_v2"])
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, help="images in a batch; the network's by default")
    parser.add_argument("--output", type=Path, default=TARGET, help="the folder for what it writes")
    options = parser.parse_args()
    unknown = [name for name in options.networks if name not in BY_NAME]
    if unknown:
        raise SystemExit(f"no network is called {unknown[0]}; there are {', '.join(BY_NAME)}")
    import roofline_drawing

    told, found = [], {}
    for name in options.networks:
        network = BY_NAME[name]
        if options.batch:
            network = Network(**{**vars(network), "batch": options.batch})
        passes, parts, can = measure(network, options.threads, options.rounds)
        print(f"{options.threads} threads: {can.float32 / 1e9:.0f} GFLOP/s, copies "
              f"{can.copy / 1e9:.1f} GB/s; load {os.getloadavg()[0]:.1f}; {graft.instructions()}")
        show(network, passes, parts)
        rows = profile(passes, parts)
        print(f"\n{name}'s step by operation")
        for row in rows:
            print(f"  {row['operation']:30} {row['seconds'] * 1e3:8.2f} ms "
                  f"{row['seconds'] / parts['step']:6.1%}")
        print(flush=True)
        told.append({
            "network": name, "batch": network.batch, "threads": options.threads,
            "peak_float32": can.float32, "copy_bandwidth": can.copy, "step": parts["step"],
            "passes": [{**asdict(one), "roof": one.roof if one.seconds else None}
                       for one in passes],
            "profile": rows})
        found[name] = (passes, rows, parts["step"], can)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "roofline.json").write_text(json.dumps(told, indent=1) + "\n")
    picture = roofline_drawing.draw(found, options.output / "roofline.png")
    print(f"{NOTE}\n\nWritten: {options.output / 'roofline.json'}, {picture}")


if __name__ == "__main__":
    main()
