"""Cutover and rollback as commands: their steps for people, and the foreign keys after the switch."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from app.db.common.errors import first_line
from app.db.common.urls import Side
from app.db.sides.postgres import deferred
from app.db.sides.stores import Stores

STEPS = (
    "drain the log and compare the keys changed since the verify, while writers go on",
    "raise the fence on {old}: writers wait from here on",
    "drain to the last change and compare what changed meanwhile",
    "{keys}commit the new primary {new} in PostgreSQL's control row",
    "SQLite's control row follows, waiting writers go on against {new}",
)


def steps(to: Side) -> list[str]:
    """What a switch does, in order, for --dry-run."""
    keys = "add foreign keys, advance sequences, " if to is Side.POSTGRES else ""
    return [step.format(old=to.other, new=to, keys=keys) for step in STEPS]


def validate_keys(stores: Stores, report: Callable[[str], None]) -> list[str]:
    """Validate PostgreSQL's foreign keys after it became primary; returns those that do not hold yet.

    The switch is done: what fails here is reported and can be repeated by running cutover again.
    """
    try:
        return deferred.validate_foreign_keys(stores.postgres.connection)
    except psycopg.Error as error:
        report(f"foreign keys were not validated ({first_line(error)}); run st-migrate cutover again")
        return []
