"""Runs the Python and the Swift tests and closes with their sum, 'N passed, N failed'.

Called by `make test`, which has built the library and made the virtual environment. Arguments are
handed to pytest.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "build" / "test-reports"


def python_tests(arguments: list[str]) -> tuple[int, int]:
    """Run pytest; returns how many passed and how many failed."""
    report = REPORTS / "python.xml"
    command = [
        sys.executable, "-m", "pytest", "-q", "--durations=5", f"--junitxml={report}",
        *(arguments or ["Tests/python"])]
    return run("Python tests", command, [report])


def swift_tests() -> tuple[int, int]:
    """Run `swift test`; returns how many passed and how many failed."""
    flags = shlex.split(os.environ.get("SWIFT_FLAGS", ""))
    # XCTest's file and Swift Testing's: the runner adds a suffix for the second.
    reports = [REPORTS / "swift.xml", REPORTS / "swift-swift-testing.xml"]
    command = ["swift", "test", "-q", *flags, "--xunit-output", str(reports[0])]
    return run("Swift tests", command, reports)


def run(title: str, command: list[str], reports: list[Path]) -> tuple[int, int]:
    print(f"== {title}", flush=True)
    for report in reports:
        report.unlink(missing_ok=True)
    status = subprocess.run(command, cwd=ROOT).returncode
    passed = failed = 0
    for report in reports:
        if report.is_file():
            for case in xml.parse(report).iter("testcase"):
                if any(case.find(kind) is not None for kind in ("failure", "error")):
                    failed += 1
                elif case.find("skipped") is None:
                    passed += 1
    if failed == 0 and (status != 0 or passed == 0):
        print(f"{title}: {shlex.join(command)} ended with status {status}", flush=True)
        failed = 1
    return passed, failed


def main() -> int:
    REPORTS.mkdir(parents=True, exist_ok=True)
    results = [python_tests(sys.argv[1:]), swift_tests()]
    passed = sum(result[0] for result in results)
    failed = sum(result[1] for result in results)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
