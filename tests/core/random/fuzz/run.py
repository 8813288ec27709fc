"""Random schemas, rows and writers through the whole move, there, back and there again.

    python -m tests.core.random.fuzz.run --minutes 5 [--seed 7]

Every other seed also writes values that the other side may not hold. A seed decides everything: one process writes, copies, applies and switches in turn. It is printed before it is
played, so that it can be played again. Ends at the first fault with exit code 1, and keeps what it found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from random import Random

from app.db.apply.outcome import Round
from app.db.common.urls import Side
from app.db.sides.locks import QUIET
from app.db.switch.coordinator import Coordinator, Moved
from loadtests.stage.embedded import EmbeddedPostgres
from migration.fill.backfill import Backfill
from migration.verify.run import Verify
from tests.core.random.fuzz.schemas import FuzzTable, SchemaMaker, postgres_ddl, quote, sqlite_ddl
from tests.core.random.fuzz.soiled import SoiledWorld, amiss
from tests.core.random.fuzz.world import World
from tests.data.dirty.dirty_stage import Stage, staged

LEGS = (Side.POSTGRES, Side.SQLITE, Side.POSTGRES)


@dataclass(frozen=True)
class Played:
    """What one seed made: tables, statements that were carried out, and those that a constraint refused."""

    tables: int
    written: int
    refused: int


class Fault(AssertionError):
    """The sides differ, or a step did not do what it must."""


def play(seed: int, folder: Path, server: EmbeddedPostgres, *, writes: int = 40) -> Played:
    """Play one seed in a database of its own.

    Raises:
        Fault: the reader or a step found something.
    """
    rng = Random(seed)
    maker = SchemaMaker(rng)
    tables = maker.tables()
    database = f"fuzz_{seed}"
    url = server.create_database(database)
    try:
        with staged(folder, url, sqlite_ddl(tables), postgres_ddl(tables)) as stage:
            kind = SoiledWorld if seed % 2 else World
            world = kind(stage.path, server.dsn(database), tables, rng)
            try:
                _move(stage, world, maker, tables, rng, writes)
            finally:
                world.close()
            return Played(len(tables), world.written, world.refused)
    finally:
        server.drop_database(database)


def _move(
    stage: Stage, world: World, maker: SchemaMaker, tables: list[FuzzTable], rng: Random, writes: int
) -> None:
    world.write(Side.SQLITE, writes)
    stage.prepare()
    world.write(Side.SQLITE, 5)
    if (
        named := rng.random() < 0.5
    ):  # a trigger's function on PostgreSQL keeps the names that it was written with
        _own_triggers(stage, tables, rng)
    chunk = rng.choice((1, 3, 17, 20_000))
    Backfill(stage.applier, chunk_rows=chunk).run(lambda _: world.write(Side.SQLITE, rng.randrange(4)))
    _compare(stage, world, Side.SQLITE, "the copy")
    for leg, to in enumerate(LEGS):
        _live(stage, world, to.other, rng, writes // 4)
        if not named and rng.random() < 0.6:
            _rename(stage, world, rng, rng.choice(tables), maker.name(), to.other)
        before = {table.name: world.bytes_of(table) for table in tables}
        stage.postgres.execute("UPDATE st_quarantine SET accepted_by = 'fuzz', accepted_at = 1")
        outcome = Coordinator(stage.applier, max_pause_ms=60_000).move(to)
        if not isinstance(outcome, Moved):
            raise Fault(f"the switch to {to} did not take place: {outcome}")
        _compare(stage, world, to, f"switch {leg + 1}")
        if before != {table.name: world.bytes_of(table) for table in tables}:
            raise Fault(f"switch {leg + 1} changed bytes on SQLite that nobody wrote")
        if to is Side.POSTGRES and not isinstance(world, SoiledWorld) and (twice := world.given_twice()):
            raise Fault("; ".join(twice))
    _live(stage, world, Side.POSTGRES, rng, writes // 4)


def _live(stage: Stage, world: World, primary: Side, rng: Random, writes: int) -> None:
    """Writes, rounds and a verify in turn, until both sides must be equal."""
    for _ in range(rng.randrange(1, 4)):
        world.write(primary, writes)
        stage.applier.round()
    found = Verify(stage.applier, chunk_rows=rng.choice((1, 5, 10_000))).run(
        lambda _: world.write(primary, rng.randrange(2))
    )
    if not found.clean:
        raise Fault(f"verify found {found.mismatches[:5]} on {primary}")
    _compare(stage, world, primary, f"writes on {primary}")


def _compare(stage: Stage, world: World, primary: Side, after: str) -> None:
    if not isinstance(outcome := stage.applier.drain(), Round):
        raise Fault(f"apply stands still after {after}: {outcome}")
    if isinstance(world, SoiledWorld):
        if found := amiss(stage, world, primary):
            raise Fault(f"after {after}: " + "\n".join(found[:3]))
        return
    if held := stage.quarantined():
        raise Fault(f"set aside after {after}: {list(held.items())[:3]}")
    if found := world.differences():
        raise Fault(f"{len(found)} rows differ after {after}: " + "\n".join(found[:3]))


def _rename(stage: Stage, world: World, rng: Random, table: FuzzTable, name: str, primary: Side) -> None:
    """A table or one of its columns gets another name by hand, on one side and then on the other."""
    # While PostgreSQL is the shadow, its foreign keys are texts, in which their columns keep their names.
    columns = [c for c in table.columns if not c.refers_to] if primary is Side.SQLITE else table.all_columns
    column = rng.choice([None, *columns])
    statement = world.renaming(table, column, name)
    before = world.bytes_of(table)
    sides = list(Side)
    rng.shuffle(sides)
    for side in sides:
        if side is Side.SQLITE:
            stage.sqlite.execute(statement)
        else:
            stage.postgres.execute(statement.encode())
    world.renamed(table, column, name)
    stage.applier.forget_schema()
    _compare(stage, world, primary, statement)
    if primary is Side.SQLITE and before != world.bytes_of(table):
        raise Fault(f"{statement} changed bytes on SQLite that nobody wrote")
    if not (found := Verify(stage.applier).run()).clean:
        raise Fault(f"verify found {found.mismatches[:5]} after {statement}")


def _own_triggers(stage: Stage, tables: list[FuzzTable], rng: Random) -> None:
    """One trigger on each side, guarded as the remedy says: what one table loses shows in another."""
    table, other = rng.choice(tables), rng.choice(tables)
    text = quote(next(column for column in reversed(other.columns) if column.kind.name == "text").name)
    change = f"UPDATE {quote(other.name)} SET {text} = "
    stage.sqlite.execute(
        f"CREATE TRIGGER own_trigger AFTER DELETE ON {quote(table.name)} WHEN ({QUIET[Side.SQLITE]}) "
        f"BEGIN {change}'by SQLite'; END"
    )
    stage.postgres.execute(
        f"CREATE FUNCTION own_function() RETURNS trigger LANGUAGE plpgsql AS $own$ BEGIN {change}'by PostgreSQL'; "
        "RETURN NULL; END $own$".encode()
    )
    stage.postgres.execute(
        f"CREATE TRIGGER own_trigger AFTER DELETE ON {quote(table.name)} FOR EACH ROW "
        f"WHEN ({QUIET[Side.POSTGRES]}) EXECUTE FUNCTION own_function()".encode()
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, help="play this seed only")
    parser.add_argument("--writes", type=int, default=40, help="statements before the copy")
    given = parser.parse_args()
    os.environ.setdefault("ST_SQLITE_BACKUP", "off")  # nothing is lost with a file that was made up
    until = time.monotonic() + given.minutes * 60
    seed = given.seed if given.seed is not None else int(time.time())
    played = 0
    with EmbeddedPostgres(light=True) as server:
        while given.seed is None or not played:
            if time.monotonic() > until:
                break
            print(f"seed {seed}", flush=True)
            folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{seed}-"))
            try:
                print(f"  {play(seed, folder, server, writes=given.writes)}", flush=True)
            except BaseException:
                traceback.print_exc()
                print(f"a fault; play it again with SEED={seed}; the SQLite file is in {folder}", flush=True)
                return 1
            shutil.rmtree(folder)
            played, seed = played + 1, seed + 1
    print(f"{played} seeds played, no fault", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
