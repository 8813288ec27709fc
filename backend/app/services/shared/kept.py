"""Answers that are read once for many orders: settings, limits and connections, while a group is decided.

Without a group each question goes to the database, as before.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy.orm import Session

_KEPT: Final = "st.kept"
T = TypeVar("T")


@contextmanager
def answers_kept(db: Session) -> Iterator[None]:
    """Inside of the block each question of this session is read once."""
    kept: dict[Hashable, Any] = {}
    db.info[_KEPT] = kept
    try:
        yield
    finally:
        del db.info[_KEPT]


def kept(db: Session, question: Hashable, read: Callable[[], T]) -> T:
    """The answer to a question; read now, unless this block of the session has read it."""
    answers: dict[Hashable, T] | None = db.info.get(_KEPT)
    if answers is None:
        return read()
    if question not in answers:
        answers[question] = read()
    return answers[question]
