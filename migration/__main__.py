"""`python -m migration` is `st-migrate`.

To import the command line takes part of a second. Nothing is open then, so Ctrl-C ends the process at once. And
nothing becomes garbage: without looks for garbage the import takes a sixth less of the processor.

Afterwards SIGTERM, and SIGHUP from a terminal that goes away, interrupt a command as Ctrl-C does. A fence
that is up comes down at once, and a second Ctrl-C does not stop that. Streams that were closed lead nowhere,
so that no file of ours takes their number.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time

INTERRUPTED = 130
AGAIN_S = 3.0  # what was interrupted is left in order meanwhile


def main() -> int:
    """Run the command line of this process. Returns the exit code."""
    _open_streams()
    heeds = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell may have it ignored
    if heeds:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    gc.disable()
    from migration.verbs.cli import main as run

    gc.freeze()
    gc.enable()
    interrupt = _Interrupt()
    if heeds:
        signal.signal(signal.SIGINT, interrupt)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, interrupt)
    try:
        return run()
    except KeyboardInterrupt:  # typer was still putting the command line together
        return INTERRUPTED


class _Interrupt:
    """What the signals do: the first one interrupts, and others only once AGAIN_S have passed since."""

    def __init__(self) -> None:
        self._not_before = 0.0

    def __call__(self, *_: object) -> None:
        if time.monotonic() >= self._not_before:
            self._not_before = time.monotonic() + AGAIN_S
            raise KeyboardInterrupt


def _open_streams() -> None:
    """Have stdin, stdout and stderr lead nowhere where they are closed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115 - open for as long as the process
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115 - as above
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115 - as above


if __name__ == "__main__":
    sys.exit(main())
