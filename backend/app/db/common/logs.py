"""Loggers that stay on.

Alembic's template configures logging by `fileConfig`, which switches off every logger that exists and that
its file does not name. So an application that migrates at its start would lose warnings without a word. An
operator needs them in the middle of a switch.
"""

from __future__ import annotations

import logging


class LastingLogger(logging.Logger):
    """A logger that nobody's configuration of logging switches off; its level still counts."""

    @property
    def disabled(self) -> bool:
        """Never."""
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        """Not taken over."""


def logger(name: str) -> logging.Logger:
    """The logger of this name, which stays on; one that exists already is made so."""
    found = logging.getLogger(name)
    if type(found) is logging.Logger:
        found.__class__ = LastingLogger
    return found
