"""Runs the fuzz targets for long on the library that `make fuzz` has built, with the sanitizers and
with coverage; prints how each goes on, and at the end a table.

What an input finds to reach further is kept in build/fuzz/inputs, for the next run to begin with.
An input that fails is kept in Tests/fuzz/corpus, where `make test` replays it: give it a name that
says how it fails, and mend what it shows.
"""

from __future__ import annotations

import argparse
import sys

import fuzzing

LIBRARY = fuzzing.ROOT / "build" / "sanitized" / "address" / "release" / "libgraft.so.0"
FOLDER = fuzzing.ROOT / "build" / "fuzz"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=900, help="for all targets together")
    parser.add_argument("targets", nargs="*", metavar="target",
                        help=f"any of {', '.join(fuzzing.TARGETS)} (default: all)")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(fuzzing.TARGETS)
    if unknown:
        parser.error(f"no such targets: {', '.join(sorted(unknown))}; "
                     f"there are {', '.join(fuzzing.TARGETS)}")
    targets = arguments.targets or list(fuzzing.TARGETS)
    # Calls reach the most: half of the time is theirs.
    shares = {target: len(fuzzing.TARGETS) - 1 if target == "calls" else 1 for target in targets}
    outcomes = []
    for target in targets:
        seconds = max(1, arguments.seconds * shares[target] // sum(shares.values()))
        print(f"{target}: {seconds} seconds", flush=True)
        fuzzer = fuzzing.Fuzzer(target, LIBRARY, FOLDER, fuzzing.SANITIZERS)
        inputs = FOLDER / "inputs" / target
        inputs.mkdir(parents=True, exist_ok=True)
        outcomes.append(fuzzer.fuzz(seconds, inputs, progress=True))
    print("target        executions  a second   edges of the library's")
    for outcome in outcomes:
        rate = outcome.executions / max(outcome.seconds, 1)
        print(f"{outcome.target:12} {outcome.executions:11} {rate:9.0f} {outcome.edges:7} of "
              f"{outcome.total}{'' if outcome.status == 0 else '   FAILED'}")
    failed = [outcome for outcome in outcomes if outcome.status != 0]
    for outcome in failed:
        print(f"\n{outcome.target} failed:\n{outcome.output[-4000:]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
