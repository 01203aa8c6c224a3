"""How large a report's page is and how long it takes to make: `python benchmarks/report.py`.

The recordings are made up: the networks' own filters, of norms that shrink and grow from epoch to
epoch, as many of them dying as in the paper's figures. Prints a table.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import graft

ROOT = Path(__file__).resolve().parents[1]


def recorded(network: graft.Network, names: list[str], epochs: int, seed: int) -> graft.Recorder:
    """A run of `epochs` epochs, grafted after each where there are several networks."""
    rng = np.random.default_rng(seed)
    states = [{name: array.copy() for name, array in network.state_dict().items()
               if array.dtype == np.float32} for _ in names]
    layers = [name for name, array in states[0].items() if array.ndim >= 2]
    recorder = graft.Recorder(names=names)
    for epoch in range(1, epochs + 1):
        for state in states:
            for name in layers:
                filters = len(state[name])
                factor = np.exp(rng.normal(0, 0.1, filters)).astype(np.float32)
                factor[rng.random(filters) < 0.002] = 1e-4
                state[name] *= factor.reshape(-1, *(1,) * (state[name].ndim - 1))
        report = graft.graft(states) if len(states) > 1 else None
        recorder.record(states, epoch, report=report, train_loss=1 / epoch,
                        test_accuracy=[1 - 1 / (epoch + 1)] * len(names))
    return recorder


def main() -> None:
    cases = (
        ("ResNet-110 pair and one alone", lambda: graft.resnet(110), 200, (["a", "b"], ["alone"])),
        ("ResNet-50 pair", lambda: graft.imagenet("resnet50"), 90, (["a", "b"],)),
        ("ResNet-50 pair", lambda: graft.imagenet("resnet50"), 1, (["a", "b"],)),
    )
    print(f"{'run':32} {'epochs':>6} {'filters':>8} {'page MB':>8} {'seconds':>8}")
    for name, make, epochs, runs in cases:
        network = make()
        filters = sum(len(array) for array in network.state_dict().values() if array.ndim == 4)
        recorders = {"+".join(one): recorded(network, one, epochs, seed)
                     for seed, one in enumerate(runs)}
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            page = graft.report(recorders, Path(folder) / "page.html")
            seconds = time.process_time() - start
            print(f"{name:32} {epochs:6} {filters:8,} {page.stat().st_size / 1e6:8.2f} "
                  f"{seconds:8.1f}", flush=True)
    print("seconds of one processor to make the page from what was recorded", file=sys.stderr)


if __name__ == "__main__":
    main()
