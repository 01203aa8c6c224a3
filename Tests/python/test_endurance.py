"""A short part of `make endurance`: what a process holds does not grow, and growth is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "endurance"


def run(program: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, whose memory nothing else moves."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(FOLDER)!r})\n{program}"],
        capture_output=True, text=True, timeout=300)


def test_nothing_grows() -> None:
    done = run("import cycles; sys.argv[1:] = ['0.1']; sys.exit(cycles.main())")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing grew" in done.stdout


def test_what_is_kept_is_seen() -> None:
    """A network, an open file and a thread that every cycle leaves behind."""
    done = run("""
import tempfile, threading
from pathlib import Path
import cycles, graft
kept, end = [], threading.Event()
def keep():
    thread = threading.Thread(target=end.wait)
    thread.start()
    kept.append((graft.resnet(20, 10, base_filters=8), open("/dev/null"), thread))
with tempfile.TemporaryDirectory() as folder:
    print(cycles.what_grew(cycles.cycles(0, Path(folder), keep)))
end.set()
""")
    assert done.returncode == 0, done.stderr
    for what in ("memory", "descriptors", "threads"):
        assert f"{what} grew by" in done.stdout, done.stdout
