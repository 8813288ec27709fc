"""The states that block, each with its code and with what its remedy says to do."""

from __future__ import annotations

from dataclasses import dataclass

from app.db.common.urls import Side
from app.db.sides.locks import QUIET

PLAIN = ("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)", "INSERT INTO t VALUES (1, 'x')")
DDL = "CREATE TABLE IF NOT EXISTS t (id bigint PRIMARY KEY, a text)"


@dataclass(frozen=True)
class Case:
    """A state that blocks, and what its remedy says to do.

    `ddl` is what makes PostgreSQL's tables. `remedy`: statements, each marked with its side (`s:`, `p:`);
    one that the remedy spells out has to be in it word for word. `exclude`: the remedy names that option.
    """

    code: str
    sqlite: tuple[str, ...] = ()
    postgres: tuple[str, ...] = ()
    ddl: str = DDL
    remedy: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    chain: bool = False
    columns: tuple[tuple[str, str, str], ...] = ()


LONG = "n" * 64
CASES = {
    "trigger_on_sqlite": Case(
        "schema.trigger",
        ("CREATE TRIGGER echo AFTER INSERT ON t BEGIN DELETE FROM t WHERE id < 0; END",),
        remedy=('s:DROP TRIGGER "echo"',),
    ),
    "trigger_with_a_name_like_ours": Case(
        "schema.trigger",
        ("CREATE TRIGGER st_capture_t_insert AFTER INSERT ON t BEGIN DELETE FROM t WHERE id < 0; END",),
        remedy=('s:DROP TRIGGER "st_capture_t_insert"',),
    ),
    "trigger_on_postgres": Case(
        "schema.trigger",
        postgres=(
            DDL,
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER touched BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch()",
        ),
        remedy=(
            "p:DROP TRIGGER touched ON t",
            f"p:CREATE TRIGGER touched BEFORE UPDATE ON t FOR EACH ROW WHEN ({QUIET[Side.POSTGRES]}) EXECUTE FUNCTION touch()",
        ),
    ),
    "rule_on_postgres": Case(
        "schema.trigger",
        postgres=(DDL, 'CREATE RULE "only ""one" AS ON DELETE TO t DO INSTEAD NOTHING'),
        remedy=('p:DROP RULE "only ""one" ON "t"',),
    ),
    "no_primary_key": Case(
        "schema.no_primary_key",
        ("CREATE TABLE loose (a TEXT)",),
        ddl=DDL + "; CREATE TABLE IF NOT EXISTS loose (a text)",
        remedy=("s:DROP TABLE loose", "s:CREATE TABLE loose (a TEXT PRIMARY KEY)"),
    ),
    "json_key": Case(
        "schema.key_type",
        ("CREATE TABLE f (a JSON PRIMARY KEY)",),
        ddl=DDL + "; CREATE TABLE IF NOT EXISTS f (a jsonb PRIMARY KEY)",
        remedy=("s:DROP TABLE f", "s:CREATE TABLE f (id INTEGER PRIMARY KEY, a JSON)"),
    ),
    "type": Case(
        "schema.type",
        postgres=("CREATE TABLE t (id bigint PRIMARY KEY, a xml)",),
        remedy=("p:ALTER TABLE t ALTER a TYPE text",),
    ),
    "array": Case(
        "schema.type",
        postgres=("CREATE TABLE t (id bigint PRIMARY KEY, a text[])",),
        remedy=("p:ALTER TABLE t ALTER a TYPE text",),
    ),
    "partitioned": Case(
        "schema.partitioned",
        postgres=("CREATE TABLE t (id bigint PRIMARY KEY, a text) PARTITION BY HASH (id)",),
        remedy=(
            "p:BEGIN; CREATE TABLE st_whole (LIKE t INCLUDING ALL); INSERT INTO st_whole OVERRIDING SYSTEM VALUE "
            "SELECT * FROM t; DROP TABLE t; ALTER TABLE st_whole RENAME TO t; COMMIT",
        ),
    ),
    "inherits": Case(
        "schema.inherits",
        ("CREATE TABLE kid (id INTEGER PRIMARY KEY, a TEXT)",),
        (DDL, "CREATE TABLE kid (PRIMARY KEY (id)) INHERITS (t)"),
        remedy=("p:ALTER TABLE kid NO INHERIT t",),
    ),
    "inherited": Case(
        "schema.inherits",
        postgres=(DDL, "CREATE SCHEMA other", "CREATE TABLE other.kid () INHERITS (t)"),
        remedy=("p:ALTER TABLE other.kid NO INHERIT t",),
    ),
    "unlogged": Case(
        "schema.unlogged",
        postgres=("CREATE UNLOGGED TABLE t (id bigint PRIMARY KEY, a text)",),
        remedy=("p:ALTER TABLE t SET LOGGED",),
    ),
    "deferrable_key": Case(
        "schema.deferrable_key",
        postgres=("CREATE TABLE t (id bigint PRIMARY KEY DEFERRABLE, a text)",),
        remedy=("p:ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT t_pkey PRIMARY KEY (id)",),
    ),
    "key_that_folds": Case(
        "schema.folding_key",
        ("CREATE TABLE k (a TEXT NOT NULL PRIMARY KEY)",),
        (  # ICU makes such collations, which not every build has
            'CREATE COLLATION folding FROM "C"',
            "UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'folding'",
            DDL,
            "CREATE TABLE k (a text COLLATE folding PRIMARY KEY)",
        ),
        ddl=DDL + "; CREATE TABLE IF NOT EXISTS k (a text PRIMARY KEY)",
        remedy=('p:ALTER TABLE k ALTER COLUMN a TYPE text COLLATE "C"',),
    ),
    "identity_beside_the_key": Case(
        "schema.identity",
        ("ALTER TABLE t ADD COLUMN n INTEGER",),
        ("CREATE TABLE t (id bigint PRIMARY KEY, a text, n bigint GENERATED ALWAYS AS IDENTITY)",),
        remedy=("p:ALTER TABLE t ALTER COLUMN n SET GENERATED BY DEFAULT",),
    ),
    "column_on_sqlite_only": Case(
        "schema.drift",
        ("ALTER TABLE t ADD COLUMN later TEXT",),
        (DDL,),
        exclude=("t.later",),
    ),
    "table_on_sqlite_only": Case(
        "schema.drift", ("CREATE TABLE candles_2024 (id INTEGER PRIMARY KEY)",), exclude=("candles_2024",)
    ),
    "table_on_postgres_only": Case(
        "schema.drift",
        postgres=(
            "CREATE TABLE other (id int PRIMARY KEY, n varchar(3))",
            "INSERT INTO other VALUES (1, 'abc')",
        ),
        exclude=("other",),
    ),
    "partial_unique_index_without_case": Case(
        "schema.collation",
        ("CREATE UNIQUE INDEX low ON t (a COLLATE NOCASE) WHERE id > 5",),
        remedy=("s:DROP INDEX low", "s:CREATE UNIQUE INDEX low ON t (a COLLATE NOCASE)"),
    ),
    "partial_index": Case(
        "schema.partial_index",
        ("CREATE UNIQUE INDEX one ON t (a) WHERE id > 5",),
        ddl=DDL + "; CREATE UNIQUE INDEX one ON t (a)",
    ),
    "key_without_case": Case(
        "schema.key_collation",
        ("CREATE TABLE k (a TEXT COLLATE NOCASE PRIMARY KEY)",),
        ddl=DDL + "; CREATE TABLE IF NOT EXISTS k (a text PRIMARY KEY)",
        remedy=("s:DROP TABLE k", "s:CREATE TABLE k (a TEXT PRIMARY KEY)"),
    ),
    "virtual_table": Case(
        "schema.virtual_table",
        ("CREATE VIRTUAL TABLE words USING rtree (id, a, b)",),
        exclude=("words",),
    ),
    "our_name_on_sqlite": Case(
        "schema.reserved_name",
        ("CREATE TABLE st_control (id INTEGER PRIMARY KEY)",),
        remedy=("s:ALTER TABLE st_control RENAME TO controls",),
    ),
    "our_name_in_capitals": Case(
        "schema.reserved_name",
        ("CREATE TABLE ST_Control (id INTEGER PRIMARY KEY)",),
        ddl=DDL + '; CREATE TABLE IF NOT EXISTS "ST_Control" (id bigint PRIMARY KEY)',
        remedy=("s:ALTER TABLE ST_Control RENAME TO controls",),
    ),
    "our_name_of_an_index": Case(
        "schema.reserved_name",
        ("CREATE INDEX st_pending ON t (a)",),
        remedy=("s:DROP INDEX st_pending",),
    ),
    "our_name_of_a_type": Case(
        "schema.reserved_name",
        postgres=("CREATE TYPE st_verify AS ENUM ('a')",),
        remedy=("p:ALTER TYPE st_verify RENAME TO verified",),
    ),
    "our_name_of_a_trigger_function": Case(
        "schema.reserved_name",
        postgres=(
            "CREATE FUNCTION st_capture_t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        ),
        remedy=("p:ALTER FUNCTION st_capture_t RENAME TO capture",),
    ),
    "our_name_on_postgres": Case(
        "schema.reserved_name",
        postgres=("CREATE TABLE st_history (id bigint PRIMARY KEY)",),
        remedy=("p:ALTER TABLE st_history RENAME TO histories",),
    ),
    "our_function": Case(
        "schema.reserved_name",
        postgres=("CREATE FUNCTION st_admit() RETURNS int LANGUAGE sql AS 'SELECT 1'",),
        remedy=("p:ALTER FUNCTION st_admit RENAME TO admit",),
    ),
    "long_name": Case(
        "schema.long_name",
        (f"CREATE TABLE {LONG} (id INTEGER PRIMARY KEY)",),
        remedy=(f"s:ALTER TABLE {LONG} RENAME TO short",),
    ),
    "names_that_collide": Case(
        "schema.name_collision",
        (f"CREATE TABLE {LONG}a (id INTEGER PRIMARY KEY)", f"CREATE TABLE {LONG}b (id INTEGER PRIMARY KEY)"),
        remedy=(f"s:ALTER TABLE {LONG}a RENAME TO short_a",),
    ),
    "foreign_key_to_nothing_unique": Case(
        "schema.foreign_key",
        ("CREATE TABLE c (id INTEGER PRIMARY KEY, a TEXT REFERENCES t (a))",),
        ddl=DDL + "; CREATE TABLE IF NOT EXISTS c (id bigint PRIMARY KEY, a text)",
        remedy=("s:CREATE UNIQUE INDEX t_a ON t (a)",),
    ),
    "rows_on_postgres": Case(
        "postgres.not_empty",
        postgres=(DDL, "INSERT INTO t VALUES (9, 'found')"),
        remedy=("p:DELETE FROM t",),
    ),
    "an_index_replicates": Case(
        "postgres.replica_identity",
        postgres=(
            "CREATE TABLE t (id bigint PRIMARY KEY, a text NOT NULL)",
            "CREATE UNIQUE INDEX ta ON t (a)",
            "ALTER TABLE t REPLICA IDENTITY USING INDEX ta",
        ),
        remedy=('p:ALTER TABLE "t" REPLICA IDENTITY DEFAULT',),
    ),
    "nothing_replicates": Case(
        "postgres.replica_identity",
        postgres=(DDL, "ALTER TABLE t REPLICA IDENTITY NOTHING", "CREATE PUBLICATION pb FOR ALL TABLES"),
        remedy=('p:ALTER TABLE "t" REPLICA IDENTITY DEFAULT',),
    ),
    "foreign_key_from_outside": Case(
        "postgres.foreign_key",
        postgres=(
            DDL,
            "CREATE TABLE outside (id bigint PRIMARY KEY, t_id bigint CONSTRAINT fk REFERENCES t)",
        ),
        remedy=('p:ALTER TABLE "outside" DROP CONSTRAINT "fk"',),
    ),
    "foreign_key_from_another_schema": Case(
        "postgres.foreign_key",
        postgres=(
            DDL,
            'CREATE SCHEMA "Else"',
            'CREATE TABLE "Else".t (id bigint PRIMARY KEY CONSTRAINT fk REFERENCES public.t ON DELETE CASCADE)',
        ),
        remedy=('p:ALTER TABLE "Else"."t" DROP CONSTRAINT "fk"',),
    ),
    "read_only": Case(
        "postgres.read_only", postgres=("ALTER DATABASE {db} SET default_transaction_read_only = on",)
    ),
    "no_schema": Case("postgres.schema", postgres=("ALTER DATABASE {db} SET search_path = nowhere",)),
    "another_revision": Case("alembic.revision", chain=True),
    "unknown_exclude": Case("schema.unknown_exclude", exclude=("nothing",)),
    "policy_for_nothing": Case("policy.unknown_column", columns=(("gone", "a", "strip_nul"),)),
    "policy_for_a_key": Case("policy.key_column", columns=(("t", "id", "integral_real"),)),
    "policy_of_another_kind": Case("policy.kind", columns=(("t", "a", "epoch_seconds"),)),
}
# Their remedies are statements in full.
UNFIT = (
    "schema.partitioned",
    "schema.inherits",
    "schema.unlogged",
    "schema.deferrable_key",
    "schema.folding_key",
    "schema.identity",
)
# Blocking codes without a case: what a test cannot bring about here, or another test does.
ELSEWHERE = {
    "schema.expression_index": "test_computed_uniques",
    "row.null_key": "quarantine closes the cutover, see the dirty rows",
    "row.last_id": "the gate `sequences` is closed, see the ids that are given out once",
    "postgres.triggers_off": "silenced triggers have tests of their own",
    "postgres.event_trigger": "silenced triggers have tests of their own",
    "sqlite.version": "the library of this Python",
    "sqlite.damaged": "a damaged page is made in the tests of files",
    "sqlite.unreadable": "as above",
    "sqlite.not_writable": "refused before the rules, as a wrong call",
    "alembic.chain": "test_chain_trial",
    "alembic.heads": "test_chain_trial",
    "alembic.trial": "test_chain_trial",
    "postgres.version": "needs an old server",
    "postgres.encoding": "test_preflight_server",
    "postgres.standby": "needs a standby",
    "postgres.privilege": "test_preflight_server",
    "postgres.owner": "tables of an installer have tests of their own",
    "schema.view": "tests of what is left as found",
    "schema.source": "a source of another kind",
    "schema.not_installed": "tables of an installer have tests of their own",
    "schema.spelling": "tables of an installer have tests of their own",
    "schema.key": "tables of an installer have tests of their own",
    "schema.excluded_key": "tables of an installer have tests of their own",
    "schema.excluded_needed": "tables of an installer have tests of their own",
}
