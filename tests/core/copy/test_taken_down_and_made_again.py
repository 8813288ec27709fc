"""What is taken down on PostgreSQL comes back as it was, with what its definition does not tell: pg_dump sees no difference."""

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path

import psycopg
import pytest

from app.db.common.urls import Side
from app.db.revisions.source.existing import Existing
from app.db.sides.postgres import deferred
from loadtests.stage.embedded import POSTGRES_BIN_PATH
from migration.fill.prepare import prepare
from migration.switch import teardown
from migration.watch.orphan_counts import unvalidated_keys
from tests.support.pairs import TestPair

SQLITE = """
CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE, n INTEGER);
CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parent (id), note TEXT, code TEXT);
INSERT INTO parent VALUES (1, 'a', 1), (2, 'b', 2);
INSERT INTO child VALUES (1, 1, 'x', 'a');
"""
POSTGRES = (
    'CREATE TABLE parent (id bigint PRIMARY KEY, code text COLLATE "C", n bigint, '
    "CONSTRAINT coded UNIQUE (code) WITH (fillfactor = 70) DEFERRABLE INITIALLY DEFERRED)",
    'CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint, note text, code text COLLATE "C")',
    "CREATE UNIQUE INDEX whole ON parent (n) NULLS NOT DISTINCT",
    "CREATE UNIQUE INDEX named ON parent (code)",
    # Made before the unique key that it refers to, if names were to decide.
    "ALTER TABLE child ADD CONSTRAINT coded FOREIGN KEY (code) REFERENCES parent (code) ON UPDATE CASCADE",
    "ALTER TABLE child ADD CONSTRAINT later FOREIGN KEY (parent_id) REFERENCES parent "
    "ON DELETE SET NULL (parent_id) DEFERRABLE INITIALLY DEFERRED NOT VALID",
    "ALTER TABLE child ADD CONSTRAINT never FOREIGN KEY (code) REFERENCES parent (code) NOT ENFORCED",
    "CREATE INDEX noted ON child (note text_pattern_ops DESC NULLS LAST) INCLUDE (code) "
    "WITH (fillfactor = 55) TABLESPACE elsewhere WHERE note <> 'q'",
    "CREATE INDEX computed ON child (lower(note), upper(code))",
    "ALTER INDEX computed ALTER COLUMN 1 SET STATISTICS 500",
    "CREATE INDEX ranges ON child USING brin (id int8_minmax_multi_ops (values_per_range = 16))",
    "ALTER TABLE parent CLUSTER ON whole",
    "COMMENT ON INDEX noted IS 'it''s {here}; 100 %s \\ of it'",
    "COMMENT ON INDEX coded IS 'an index'",
    "COMMENT ON CONSTRAINT coded ON parent IS 'a unique key'",
    "COMMENT ON CONSTRAINT coded ON child IS 'a foreign key'",
)


def _dump(pair: TestPair) -> str:
    info = pair.pg.info
    told = subprocess.run(
        [
            str(POSTGRES_BIN_PATH / "pg_dump"),
            "--schema-only",
            "--restrict-key=x",
            "--exclude-table=st_history*",  # kept after a switch
            psycopg.conninfo.make_conninfo(
                host=info.host, port=info.port, user=info.user, password=info.password, dbname=info.dbname
            ),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout


@pytest.mark.parametrize("way", ["at once", "after the copy", "after three switches"])
def test_it_comes_back_as_it_was(tmp_path: Path, pg_url: str, way: str) -> None:
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.executescript(SQLITE)
    connection.close()
    pair = TestPair(tmp_path / "a.db", pg_url)
    pair.pg.execute("SET allow_in_place_tablespaces = on")
    pair.pg.execute("CREATE TABLESPACE elsewhere LOCATION ''")
    try:
        for statement in POSTGRES:
            pair.pg.execute(statement.encode())
        before = _dump(pair)
        prepare(pair.pair, pair.applier.stores, Existing(), report=lambda line: None)
        if way != "at once":
            pair.backfill()
        if way == "after three switches":
            for side in (Side.POSTGRES, Side.SQLITE, Side.POSTGRES):
                pair.moved(side)
                pair.drain()
            assert deferred.validate_foreign_keys(pair.pg) == []
            assert unvalidated_keys(pair.applier.stores) == []
            before = before.replace(" NOT VALID", "")
        pair.close()
        teardown.end(pair.new_stores(), "abort", unfence=False, report=lambda line: None)
        pair.pg.execute("DROP FUNCTION IF EXISTS st_served()")  # what a switch leaves
        assert _dump(pair) == before
    finally:
        pair.close()
        pair.pg.execute("DROP TABLE child, parent")
        pair.pg.execute("DROP TABLESPACE elsewhere")
        pair.close()
