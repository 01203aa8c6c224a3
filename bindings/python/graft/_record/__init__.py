"""What a run records of itself: measured once an epoch, kept in a file, looked at later.

NumPy and the library alone; nothing here draws. `graft.report` does (see `graft._page`).
"""

from __future__ import annotations

from ._live import EpochTable, TensorBoard
from ._recorder import Recorder
from ._recording import Recording

__all__ = ["EpochTable", "Recorder", "Recording", "TensorBoard"]
