"""A cluster of shards without Citus: hash partitions of a first node, each a foreign table on a server of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Connection, Engine, MetaData, NullPool, Table, create_engine

from app.db.base import Base
from app.native.placement import PLACEMENTS, Place, shard_schema
from loadtests.judge.plans import Sent
from loadtests.stage.embedded import EmbeddedPostgres

SHARDS = 2
DATABASE = "rehearsal_of_shards"
_FIRST = f"{DATABASE}_first"
_SHARD = re.compile(rf"\b({'|'.join(PLACEMENTS)})_shard(\d)\b")


class Cluster:
    """The first node and one shard on each of the servers; `first` and `shards` are engines.

    Tables that are everywhere are ordinary tables on all three: to keep them equal is Citus's work.
    """

    def __init__(self, servers: list[EmbeddedPostgres]) -> None:
        self._servers = servers
        self.shards: list[Engine] = []
        for server in servers:
            engine = create_engine(server.create_database(DATABASE), poolclass=NullPool)
            shard_schema(Base.metadata).create_all(engine)
            self.shards.append(engine)
        self.first = create_engine(servers[0].create_database(_FIRST), poolclass=NullPool)
        with self.first.begin() as connection:
            self._make_first(connection)

    def _make_first(self, connection: Connection) -> None:
        connection.exec_driver_sql("CREATE EXTENSION postgres_fdw")
        connection.exec_driver_sql(f"ALTER DATABASE {_FIRST} SET enable_partitionwise_join = on")
        for number, server in enumerate(self._servers):
            connection.exec_driver_sql(
                f"CREATE SERVER shard{number} FOREIGN DATA WRAPPER postgres_fdw"
                f" OPTIONS (host '127.0.0.1', port '{server.port}', dbname '{DATABASE}')"
            )
            connection.exec_driver_sql(
                f"CREATE USER MAPPING FOR CURRENT_USER SERVER shard{number}"
                f" OPTIONS (user '{server.superuser}', password '{server.password.replace('%', '%%')}')",
                (),
            )
        shard, first = shard_schema(Base.metadata), MetaData()
        for table in Base.metadata.sorted_tables:
            if PLACEMENTS[table.name].place is not Place.SPREAD:
                table.to_metadata(first)
                continue
            columns = [Column(column.name, column.type) for column in shard.tables[table.name].columns]
            Table(table.name, first, *columns, postgresql_partition_by=f"HASH ({PLACEMENTS[table.name].key})")
        first.create_all(connection)
        for name, placement in PLACEMENTS.items():
            for number in range(SHARDS) if placement.place is Place.SPREAD else ():
                connection.exec_driver_sql(
                    f"CREATE FOREIGN TABLE {name}_shard{number} PARTITION OF {name}"
                    f" FOR VALUES WITH (MODULUS {SHARDS}, REMAINDER {number})"
                    f" SERVER shard{number} OPTIONS (table_name '{name}')"
                )

    def everywhere(self, statement: str) -> None:
        """Do the same on the first node and on each shard."""
        for engine in (self.first, *self.shards):
            with engine.begin() as connection:
                connection.exec_driver_sql(statement)

    def close(self) -> None:
        self._servers[0].drop_database(_FIRST)
        for server in self._servers:
            server.drop_database(DATABASE)


def plan_of(connection: Connection, sent: Sent) -> dict[str, Any]:
    """What the first node plans for a statement."""
    plan = connection.exec_driver_sql(
        f"EXPLAIN (VERBOSE, FORMAT JSON) {sent.statement}", sent.parameters
    ).scalar_one()
    (root,) = json.loads(plan) if isinstance(plan, str) else plan
    root_plan: dict[str, Any] = root["Plan"]
    return root_plan


def shards_of(plan: dict[str, Any]) -> set[tuple[str, int]]:
    """Each spread table of a plan with each shard that is asked for it."""
    return {
        (table, int(number))
        for node in nodes(plan)
        for told in (node.get("Relation Name", ""), node.get("Relations", ""))
        for table, number in _SHARD.findall(told)
    }


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's steps, the uppermost first."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)
