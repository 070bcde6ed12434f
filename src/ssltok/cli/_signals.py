"""Ctrl-C and SIGTERM: the work stops, cleans up, and says so in one line."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["Stop", "stoppable"]

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stop:
    """Which signal has arrived, if any."""

    def __init__(self) -> None:
        self.number = 0

    @property
    def status(self) -> int:
        """The exit status that shells expect: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.number or signal.SIGINT)

    @property
    def name(self) -> str:
        """What the user did."""
        return NAMES[signal.Signals(self.number or signal.SIGINT)]

    def arrived(self, number: int, _: Any) -> None:
        """Begin to stop; what arrives while things are put away changes nothing."""
        if not self.number:
            self.number = number
            raise KeyboardInterrupt


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Both signals raise KeyboardInterrupt within the block, unless the caller ignores them."""
    stop = Stop()
    before: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in map(int, NAMES):
                handler = signal.getsignal(number)
                if handler in (signal.SIG_DFL, signal.default_int_handler):
                    before[number] = handler
                    signal.signal(number, stop.arrived)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
