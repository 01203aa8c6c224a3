"""What one training left behind, and the table that compares the arms."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np


@dataclass
class Result:
    """One arm at one seed.

    Attributes
    ----------
    accuracy
        Test accuracy after every epoch (and its graft), in percent, mean over the networks.
    norms
        The l1 norm of every filter of network 0 at the end, a layer's after the other's.
    alpha
        Epochs x layers: the share of its own weights that each layer of network 0 kept; empty
        without grafts.
    seconds
        Wall clock.
    identical
        Whether all networks of the arm ended as one, bit for bit.
    """

    arm: str
    seed: int
    accuracy: list[float]
    norms: dict[str, np.ndarray]
    alpha: np.ndarray
    seconds: float
    identical: bool = True

    @property
    def all_norms(self) -> np.ndarray:
        return np.concatenate(list(self.norms.values()))


def table(results: list[Result], names: dict[str, str], threshold: float) -> str:
    """The comparison, a line for each arm.

    Parameters
    ----------
    results
        Every arm at the same seeds; "baseline" is one of them.
    names
        Arm -> what the table calls it.
    threshold
        Filters under it are invalid.
    """
    seeds = len({result.seed for result in results})
    width = max(map(len, names.values()))
    head = (
        f"{'':{width}}   test accuracy, %        invalid    mean l1 norm of the filters\n"
        f"{'':{width}}   last epoch    best      filters    valid*    invalid*    seconds\n")
    rows = []
    for arm, name in names.items():
        runs = [result for result in results if result.arm == arm]
        last = [run.accuracy[-1] for run in runs]
        best = mean(max(run.accuracy) for run in runs)
        invalid = mean(int((run.all_norms < threshold).sum()) for run in runs)
        valid_norm, invalid_norm = cultivation(runs, results, threshold)
        seconds = mean(run.seconds for run in runs)
        rows.append(
            f"{name:{width}}   {spread(last):<13} {best:5.2f}     {invalid:7.1f}  {valid_norm:>7}"
            f"    {invalid_norm:>8}   {seconds:8.1f}")
    filters = len(results[0].all_norms)
    note = (
        f"Means over {seeds} seeds, ± one standard deviation; {filters} filters a network,"
        f" invalid under l1 norm {threshold:g}.\n"
        "* valid and invalid as the baseline of the same seed ended (the paper's cultivation"
        " table).")
    if seeds == 1:
        note = note.replace("Means over 1 seeds, ± one standard deviation", "One seed")
    rule = "-" * max(map(len, rows))
    return f"{head}{rule}\n" + "\n".join(rows) + f"\n{rule}\n{note}"


def spread(values: list[float]) -> str:
    """Mean ± standard deviation, where there are several."""
    if len(values) == 1:
        return f"{values[0]:5.2f}"
    return f"{mean(values):5.2f} ± {stdev(values):4.2f}"


def cultivation(
    runs: list[Result], results: list[Result], threshold: float
) -> tuple[str, str]:
    """Mean l1 norm over the filters that the baseline of the same seed has valid, and invalid."""
    baselines = {one.seed: one for one in results if one.arm == "baseline"}
    invalid = np.concatenate([baselines[run.seed].all_norms < threshold for run in runs])
    norms = np.concatenate([run.all_norms for run in runs])
    kept, lost = norms[~invalid], norms[invalid]
    return (
        f"{kept.mean():.3f}" if len(kept) else "none",
        f"{lost.mean():.3f}" if len(lost) else "none")


def verdicts(results: list[Result], names: dict[str, str]) -> list[str]:
    """A sentence for each arm: by how much it beat the baseline, and whether that is noise.

    The accuracies of one seed are paired: network 0 of each arm starts from the same weights. The
    interval is Student's, at 95 %.
    """
    from scipy.stats import t

    last = {(one.arm, one.seed): one.accuracy[-1] for one in results}
    seeds = sorted({one.seed for one in results})
    sentences = []
    for arm, name in names.items():
        if arm == "baseline":
            continue
        gains = [last[arm, seed] - last["baseline", seed] for seed in seeds]
        sentence = f"{name} against the baseline: {mean(gains):+.2f} points"
        if len(seeds) < 2:
            sentences.append(f"{sentence} at one seed, which says nothing about noise.")
            continue
        reach = t.ppf(0.975, len(seeds) - 1) * stdev(gains) / len(seeds) ** 0.5
        low, high = mean(gains) - reach, mean(gains) + reach
        interval = f"95 % interval {low:+.2f} to {high:+.2f}, {len(seeds)} paired seeds"
        if low > 0:
            words = "a gain beyond noise"
        elif high < 0:
            words = "a loss beyond noise"
        else:
            words = "within noise"
        sentences.append(f"{sentence} ({interval}): {words}.")
    return sentences
