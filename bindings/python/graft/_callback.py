"""Calls from the library back into Python: an exception, or Ctrl-C, stops the run and comes out.

Nothing may unwind through the library, and an exception that leaves a ctypes callback is lost. So
the callback catches everything, returns "stop", and what was caught is raised once the library has
returned.

Signals need care: Python runs a signal's handler in the main thread at the next bytecode, which
during a run is the callback's first, before any `try`. Handlers are therefore replaced for the
time of the run by ones that only take note, and are called where what they raise is caught.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from . import _structures
from ._progress import Progress

if TYPE_CHECKING:
    from ._trainer import Trainer


class TrainerCallback:
    """A callback that `Trainer.run` tells which trainer calls it."""

    def begin(self, trainer: Trainer) -> None:
        """Called before the first batch of every run."""

    def __call__(self, progress: Progress) -> object:
        """As any callback: returning False stops the run."""


class Signals:
    """Holds back the handlers of signals that are handled in Python, main thread only."""

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._noted: list[tuple[int, FrameType | None]] = []

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            try:
                for number in signal.valid_signals():
                    handler = signal.getsignal(number)
                    if callable(handler):
                        self._handlers[number] = handler
                        signal.signal(number, self._note)
            except BaseException:  # a handler not yet replaced raised
                self.__exit__()
                raise
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted.append((number, frame))

    def deliver(self) -> None:
        """Call the handlers of the signals that came; they may raise."""
        while self._noted:
            number, frame = self._noted.pop(0)
            self._handlers[number](number, frame)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            # What a handler was replaced by in the meantime stays.
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)


class Relay:
    """The library's callback, which hands on to Python ones.

    Parameters
    ----------
    callbacks
        Called with a `Progress`; one that returns False stops the run.
    signals
        Delivered before the callbacks.
    """

    def __init__(
        self, callbacks: list[Callable[[Progress], object]], signals: Signals
    ) -> None:
        self._callbacks = callbacks
        self._signals = signals
        self.raised: BaseException | None = None
        self.function = _structures.Callback(self._call)

    def _call(self, told: Any, _: Any) -> int:
        try:
            self._signals.deliver()
            progress = Progress._of(told.contents)
            stop = False
            for callback in self._callbacks:
                stop = callback(progress) is False or stop
            self._signals.deliver()
            return int(stop)
        except BaseException as error:  # everything: nothing may unwind through the library
            self.raised = error
            return 1
