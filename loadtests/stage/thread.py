"""Work that goes on in a thread of its own until somebody stops it."""

from __future__ import annotations

import threading


class Stoppable:
    """What the sender, the watch and the chaos have in common; a subclass works in `_run`.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        """Work, and return soon after `_stopping` is set."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing new, and wait until what is under way has ended; may be called again."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
