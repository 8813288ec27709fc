"""Which dual-write modes a run of the tests goes through.

ST_TEST_MODES=all (`make modes`): every suite in every mode, with either side as primary. Otherwise every
suite runs in the mode that is the default, and a short form of each in those that go another way.
"""

from __future__ import annotations

import os

import pytest

from app.db.common.settings import DualWrite
from app.db.common.urls import Side

ALL = os.environ.get("ST_TEST_MODES") == "all"
MODES = list(DualWrite) if ALL else [DualWrite.SYNC]  # the last one stands for tests that name theirs
# The kinds of database that the HTTP suites meet beside a plain one: (mode, primary).
PAIRS = [(mode, side) for mode in DualWrite for side in Side] if ALL else [(DualWrite.STRICT, Side.SQLITE)]


def in_modes(*suiting: DualWrite) -> pytest.MarkDecorator:
    """Run a test in these modes of the run only; the usual run has but the default one, so name that too."""
    assert DualWrite.SYNC in suiting
    return pytest.mark.parametrize("backend", [mode for mode in MODES if mode in suiting], indirect=True)
