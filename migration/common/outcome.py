"""What a verb hands back: one named outcome with its data, and the exit code that goes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """The exit codes of every verb."""

    DONE = 0  # done, clean, or nothing left to do
    FINDINGS = 1  # something was found, or a gate said no; nothing was changed by it
    USAGE = 2  # the call or the configuration is wrong; nothing was changed
    FAILED = 3  # it did not work; running the same command again goes on from there


@dataclass(frozen=True)
class Outcome:
    """The result of one verb.

    Args:
        name: one word per kind of result, stable: scripts look at it.
        message: the same for people, one sentence.
        exit: what the process exits with.
        data: what else the JSON object holds; only JSON types.
        lines: what people read instead of `data`, where that would be too much. None for all of it.
    """

    name: str
    message: str
    exit: Exit = Exit.DONE
    data: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[str] | None = None

    def as_json(self, command: str) -> dict[str, Any]:
        """The object that --json prints."""
        return {
            "command": command,
            "outcome": self.name,
            "exit_code": int(self.exit),
            "message": self.message,
            **self.data,
        }
