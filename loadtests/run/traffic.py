"""What the story needs of its traffic: the demo sends from a thread of its own, a load run with locust."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from loadtests.stage.processes import Backend
from loadtests.traffic.ledger import Delivery


class Traffic(Protocol):
    """What sends while the story is played.

    `marker`: prefix of the markers of everything that is sent; `deliveries`: those that this process knows of, none if only the ledgers tell; `ledgers`: where
    everything is noted; `look_s`: how long the traffic is looked at after a switch.
    """

    marker: str
    deliveries: list[Delivery]
    ledgers: list[Path]
    look_s: float

    def start(self, backend: Backend) -> None:
        """Begin to send to a backend; returns when the first command may be called."""

    def before_switch(self, lead_s: float) -> None:
        """Wait for the right moment to call a switch, `lead_s` before the switch itself."""

    def after(self, step: str) -> None:
        """A step has ended."""

    def turn_to(self, backend: Backend) -> None:
        """Send to another backend from now on."""

    def counted(self) -> str:
        """What has arrived so far, for people; empty if only the ledgers tell."""

    def stop(self) -> None:
        """Send nothing new and wait for all answers."""

    def kill(self) -> None:
        """End whatever still runs."""
