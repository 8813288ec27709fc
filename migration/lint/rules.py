"""What the lint looks for: each rule with its meaning and the remedy.

`error`: PostgreSQL refuses it. `warning`: PostgreSQL takes it and something else happens. A rule with
`handled` describes a hazard that is taken care of where `app.db` runs a chain. It is reported for chains
whose env.py runs them by other means.
"""

from __future__ import annotations

from migration.lint.rule import Rule
from migration.lint.sql.rules import SQL_RULES

MAX_REVISION_ID = 32


_ALL = (
    # Chains
    Rule(
        "boolean-default",
        "error",
        "PostgreSQL takes no 0 or 1 as the default of a Boolean",
        "write sa.false() or sa.true()",
        "the default is spelt for each database",
    ),
    Rule(
        "revision-id",
        "error",
        f"alembic_version holds {MAX_REVISION_ID} characters, and PostgreSQL refuses a longer id",
        "shorten the id, or widen the column before this revision",
        "the version table takes ids of any length",
    ),
    Rule(
        "batch-recreate",
        "warning",
        "batch mode rebuilds the table on SQLite, and every trigger on it is gone, capture included",
        "run the chain by app.db, which puts capture back in the same transaction",
        "capture is put back in the same transaction",
    ),
    Rule(
        "zoned-time",
        "warning",
        "the column becomes timestamptz; values written without a zone are shifted by the session's zone",
        "write sa.DateTime() and store UTC",
        "the column becomes a zone-less one that holds UTC",
    ),
    Rule(
        "local-time-default",
        "warning",
        "the default is local time of the session on PostgreSQL, UTC on SQLite",
        "write sa.text(\"timezone('utc', now())\") for PostgreSQL, or set the value in Python",
        "the default becomes the current time in UTC",
    ),
    Rule(
        "text-time-default",
        "warning",
        "a time stored as text has another form on each database, and is local on PostgreSQL",
        "make the column a DateTime, or set the text in Python",
    ),
    Rule(
        "string-length",
        "warning",
        "SQLite stores longer texts all the same, PostgreSQL refuses them",
        "write sa.Text(), or be sure of the longest value",
        "the column becomes text without a limit",
    ),
    Rule(
        "integer-range",
        "warning",
        "SQLite's integers have 64 bits, PostgreSQL's 32: larger values are refused",
        "write sa.BigInteger() where a count or an id may grow",
        "the column becomes bigint",
    ),
    Rule(
        "dialect-branch",
        "warning",
        "the revision does something else on each database, so that their schemas drift apart",
        "do the same on both, or say why not in an escape",
    ),
    Rule(
        "unnamed-key",
        "warning",
        "a key added without a name has none on SQLite and one of PostgreSQL's making, so it cannot be dropped by name",
        "give the foreign key a name",
    ),
    Rule(
        "chain-environment",
        "warning",
        "this env.py runs the chain by itself. A pair is changed on one side only and loses capture there. On "
        "PostgreSQL the limits of String and Integer come back",
        "let it call app.db.revisions.chain.run_environment(Base.metadata), or migrate by st-migrate schema upgrade only",
    ),
    Rule(
        "chain-url",
        "warning",
        "the URL of alembic.ini wins here: with PostgreSQL in ST_DATABASE_URL a SQLite file is migrated, without a word",
        "let it call app.db.revisions.chain.run_environment(Base.metadata), which asks for ST_DATABASE_URL",
    ),
    # Code
    Rule(
        "sqlite-dialect",
        "error",
        "the construct compiles for SQLite only",
        "use what is common to both, or choose by the session's dialect",
    ),
    Rule(
        "engine-outside-seam",
        "error",
        "a connection made here passes by the gate: it does not follow a switch, and a fence surprises it",
        "use app.db.SessionLocal, get_db or engine",
    ),
    Rule(
        "chain-run-otherwise",
        "warning",
        "app.db handles these hazards where it runs the chain, and this env.py runs the chain by other means",
        "have env.py run the chain by app.db.revisions.pair.migrate",
    ),
    # The lint itself
    Rule("bare-escape", "error", "an escape without a reason", "write `# st-lint: allow RULE - why`"),
    Rule("unused-escape", "error", "an escape that nothing needs", "remove it"),
    Rule("syntax", "error", "the file is not valid Python", "correct it; nothing else in it was looked at"),
)
RULES = {rule.id: rule for rule in (*_ALL, *SQL_RULES)}
