"""Trains a network alone, two that graft, and two that graft and distil; then compares them.

    make demo                                  scikit-learn's digits, under three minutes
    make demo DATA=cifar10 DIR=folder          CIFAR-10's binary files
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import graft
from display import Display, clock
from picture import draw
from results import Result, table, verdicts
from settings import ARMS, MOMENTUM, Arm, Settings, cifar10, digits

ROOT = Path(__file__).resolve().parents[2]


def train(
    settings: Settings, arm: Arm, seed: int, display: Display, baseline: graft.Network | None,
    recorder: graft.Recorder | None = None,
) -> tuple[Result, graft.Network]:
    """Train one arm at one seed; network 0 starts from the same weights in every arm.

    Returns the result and network 0, which a later arm may have as its teacher.
    """
    networks = [
        graft.resnet(
            settings.depth, settings.train.classes, settings.input_shape,
            base_filters=settings.base_filters, seed=100 * seed + index)
        for index in range(arm.networks)]
    trainer = graft.Trainer(
        networks, settings.train, settings.test, epochs=settings.epochs,
        batch_size=settings.batch_size, learning_rate=settings.learning_rate,
        seeds=[100 * seed + index for index in range(arm.networks)], momentum=MOMENTUM,
        weight_decay=settings.weight_decay, schedule="cosine",
        warmup_epochs=settings.warmup_epochs, crop_padding=settings.crop_padding,
        flip=settings.flip,
        grafting=graft.Grafting(threshold=settings.threshold) if arm.grafts else None,
        teachers=[baseline] if arm.distils and baseline is not None else [], evaluate="after")
    begin = time.monotonic()
    history = trainer.run([display, recorder] if recorder is not None else display)
    seconds = time.monotonic() - begin
    epochs = range(1, history.epochs + 1)
    accuracy = [
        100 * np.mean([one.test_accuracy for one in history if one.epoch == epoch])
        for epoch in epochs]
    reports = [trainer.graft_report(epoch) for epoch in epochs] if arm.grafts else []
    alpha = np.array([[layer.networks[0].alpha for layer in report] for report in reports])
    norms = {
        name: graft.filter_norms(weight) for name, weight in networks[0].state_dict().items()
        if weight.ndim == 4}
    states = [network.state_dict() for network in networks]
    identical = all(np.array_equal(states[0][name], state[name])
                    for state in states for name in state)
    return Result(arm.key, seed, accuracy, norms, alpha, seconds, identical), networks[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("digits", "cifar10"), default="digits")
    parser.add_argument("--directory", type=Path, help="where CIFAR-10's .bin files lie")
    parser.add_argument("--seeds", type=int, help="how many seeds for each arm")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--picture", type=Path, default=ROOT / "build" / "demo.png")
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "demo.html")
    arguments = parser.parse_args()
    if arguments.data == "cifar10":
        if arguments.directory is None:
            parser.error("cifar10 needs its files: make demo DATA=cifar10 DIR=folder")
        settings = cifar10(arguments.directory)
    else:
        settings = digits()
    given = {key: getattr(arguments, key) for key in ("seeds", "epochs")}
    settings = replace(settings, **{key: value for key, value in given.items() if value})
    return compare(settings, arguments.picture, arguments.report)


def compare(settings: Settings, picture: Path, report: Path) -> int:
    """Run every arm at every seed, print the table, draw the picture, and report the first seed."""
    names = {arm.key: arm.name for arm in ARMS}
    print(
        f"{settings.title}: {settings.train.count} images to train on, {settings.test.count} to "
        f"test\nResNet-{settings.depth}, {settings.base_filters} filters first; batch "
        f"{settings.batch_size}, learning rate {settings.learning_rate:g} (cosine), weight decay "
        f"{settings.weight_decay:g}\n{settings.epochs} epochs are {settings.steps} steps: a filter "
        f"without gradient shrinks to {settings.shrinkage:.0e} of its norm\n", flush=True)
    display = Display(settings.steps * settings.seeds * sum(arm.cost for arm in ARMS))
    begin = time.monotonic()
    results = []
    recorders = {arm.name: graft.Recorder() for arm in ARMS}
    for seed in range(1, settings.seeds + 1):
        baseline = None
        for arm in ARMS:
            display.begin(f"{arm.name}, seed {seed}/{settings.seeds}", arm.cost)
            result, network = train(
                settings, arm, seed, display, baseline, recorders[arm.name] if seed == 1 else None)
            baseline = network if baseline is None else baseline
            results.append(result)
            invalid = int((result.all_norms < settings.threshold).sum())
            display.end(
                f"seed {seed}  {arm.name:20} {result.accuracy[-1]:6.2f} %   {invalid:3d} invalid "
                f"filters   {result.seconds:6.1f} s", settings.steps)
    print(f"\n{table(results, names, settings.threshold)}\n")
    sentences = verdicts(results, names)
    if all(result.identical for result in results):
        sentences.append(
            "The two networks of an arm are one after the last graft, bit for bit: what is left to "
            "run costs what the baseline costs.")
    print("\n".join(textwrap.fill(sentence, 98, subsequent_indent="  ") for sentence in sentences))
    seeds = f"{settings.seeds} seeds" if settings.seeds > 1 else "1 seed"
    draw(
        picture, results, names, settings.threshold,
        f"Filter grafting on {settings.title}: ResNet-{settings.depth}, {settings.epochs} epochs, "
        f"{seeds}")
    report.parent.mkdir(parents=True, exist_ok=True)
    graft.report(
        recorders, report, threshold=settings.threshold,
        title=f"Filter grafting on {settings.title}: seed 1")
    print(
        f"\nPicture: {picture}\nReport:  {report}\n"
        f"(seed 1 filter by filter: open it in a browser; {clock(time.monotonic() - begin)} in all)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
