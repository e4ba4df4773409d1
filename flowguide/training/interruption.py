"""Ctrl-C and SIGTERM that let a step finish and a checkpoint be written."""

import signal
import threading
from types import FrameType, TracebackType


class Interrupted(KeyboardInterrupt):
    """Training was stopped from outside, and all that it needs to go on is saved. Says how."""


class Interruption:
    """While it is open, the first Ctrl-C or SIGTERM only sets ``requested``; a second one stops at once.

    Args:
        patient: Whether later ones are to be as the first: torchrun passes on what the terminal has sent already.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, patient: bool = False) -> None:
        self.requested = False
        self.patient = patient
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in self.SIGNALS:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if not self.patient:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def __exit__(self, kind: type | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self._restore()
