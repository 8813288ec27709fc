"""Hazards in Python code: column definitions of a chain, constructs of one dialect, engines outside the seam."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from migration.lint.rules import MAX_REVISION_ID
from migration.lint.source import Source, Spot, called, terminal
from migration.lint.sql.calls import FUNCTIONS, ONE_ARGUMENT

_COLUMNS = frozenset(("Column", "mapped_column"))
_ENGINES = frozenset(
    ("create_engine", "create_async_engine", "engine_from_config", "sessionmaker", "async_sessionmaker")
)
_DRIVERS = frozenset(("sqlite3", "psycopg", "psycopg2", "aiosqlite", "asyncpg"))
_BOOLEANS = frozenset(("Boolean", "BOOLEAN"))
_CONDITIONS = frozenset(("where", "filter", "filter_by", "having", "case", "and_", "or_"))


def is_chain(source: Source) -> bool:
    """Whether a file is a revision of an Alembic chain."""
    names = {terminal(t) for s in source.tree.body if isinstance(s, ast.Assign) for t in s.targets}
    names |= {terminal(s.target) for s in source.tree.body if isinstance(s, ast.AnnAssign)}
    return {"revision", "down_revision"} <= names


def check(source: Source) -> Iterator[Spot]:
    """Every hazard in the code of a file, SQL texts aside."""
    chain = is_chain(source)
    qualifier = _sqlalchemy(source)
    if chain:
        yield from _revision_id(source)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield from _call(node, chain, qualifier)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _import(node)
        elif isinstance(node, ast.Compare) and chain and ".dialect.name" in ast.unparse(node):
            yield Spot("dialect-branch", node, ast.unparse(node))


def _sqlalchemy(source: Source) -> str:
    """Under which name the file has SQLAlchemy as a module. Empty if it has not."""
    for node in source.tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "sqlalchemy":
                    return alias.asname or alias.name
    return ""


def _revision_id(source: Source) -> Iterator[Spot]:
    for node in source.tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        identifier = getattr(value, "value", None)
        if target is None or terminal(target) != "revision" or not isinstance(identifier, str):
            continue
        if len(identifier) > MAX_REVISION_ID:
            yield Spot("revision-id", value, f"{identifier} has {len(identifier)} characters")


def _call(node: ast.Call, chain: bool, qualifier: str) -> Iterator[Spot]:
    name, owner = called(node)
    if name in _COLUMNS or name == "alter_column":
        yield from _boolean_default(node, qualifier)
    if chain:
        yield from _in_chain(node, name)
    if (name in _ENGINES and owner != "self") or (name == "connect" and owner in _DRIVERS):
        yield Spot("engine-outside-seam", node, f"{owner}.{name}()" if owner else f"{name}()")
    if name in ("like", "not_like", "notlike") and owner:
        yield Spot("like-case", node.func, f".{name}()")
    if owner == "func" and (
        name.lower() in FUNCTIONS or (name.lower() in ONE_ARGUMENT and len(node.args) > 1)
    ):
        callee = node.func if name == "ifnull" else None
        by = f"{ast.unparse(node.func).rpartition('.')[0]}.coalesce"
        yield Spot("sqlite-function", node.func, f"func.{name}()", callee, by)
    yield from _only_for_sqlite(node)
    if name in _CONDITIONS:
        yield from _float_equality(node)


def _only_for_sqlite(node: ast.Call) -> Iterator[Spot]:
    """Options for SQLite without the same one for PostgreSQL."""
    given = {keyword.arg: ast.dump(keyword.value) for keyword in node.keywords}
    for keyword in node.keywords:
        option = keyword.arg or ""
        if option.startswith("sqlite_"):
            twin = given.get(f"postgresql_{option.removeprefix('sqlite_')}")
            if twin != ast.dump(keyword.value):
                yield Spot("sqlite-dialect", keyword, f"{option}=")


def _is_boolean(node: ast.Call) -> bool:
    types = [*node.args, *(k.value for k in node.keywords if k.arg in ("type_", "existing_type"))]
    return any(terminal(item) in _BOOLEANS for item in types)


def _boolean_default(node: ast.Call, qualifier: str) -> Iterator[Spot]:
    default = next((k.value for k in node.keywords if k.arg == "server_default"), None)
    if default is None or not _is_boolean(node):
        return
    inner = (
        default.args[0]
        if isinstance(default, ast.Call) and terminal(default) == "text" and default.args
        else default
    )
    if isinstance(inner, ast.Constant) and str(inner.value) in ("0", "1") and inner.value is not True:
        by = f"{qualifier}.{'true' if str(inner.value) == '1' else 'false'}()" if qualifier else ""
        yield Spot(
            "boolean-default", default, f"server_default={ast.unparse(default)}", default if by else None, by
        )


def _in_chain(node: ast.Call, name: str) -> Iterator[Spot]:
    if name == "batch_alter_table":
        yield Spot("batch-recreate", node, "batch_alter_table()")
    elif name in ("String", "VARCHAR", "CHAR", "Unicode") and (node.args or node.keywords):
        yield Spot("string-length", node, ast.unparse(node))
    elif name in ("Integer", "INTEGER", "SmallInteger"):
        yield Spot("integer-range", node, ast.unparse(node))
    elif name in ("DateTime", "TIMESTAMP", "DATETIME"):
        for keyword in node.keywords:
            if keyword.arg == "timezone" and getattr(keyword.value, "value", None) is True:
                lone = len(node.keywords) == 1 and not node.args
                by = f"{ast.unparse(node.func)}()" if lone else ""
                yield Spot("zoned-time", node, ast.unparse(node), node if lone else None, by)
    elif name == "Column":
        yield from _time_default(node)
    elif name == "add_column":
        for inner in ast.walk(node):
            if not isinstance(inner, ast.Call) or terminal(inner) != "ForeignKey":
                continue
            if not any(k.arg == "name" for k in inner.keywords):
                yield Spot("unnamed-key", inner, ast.unparse(inner))


def _time_default(node: ast.Call) -> Iterator[Spot]:
    default = next((k.value for k in node.keywords if k.arg == "server_default"), None)
    if default is None:
        return
    written = ast.unparse(default).lower()
    if "current_timestamp" in written or written.endswith(("func.now()", "text('now()')")):
        kinds = {terminal(argument) for argument in node.args}
        rule = "text-time-default" if kinds & {"Text", "String", "TEXT", "VARCHAR"} else "local-time-default"
        yield Spot(rule, default, f"server_default={ast.unparse(default)}")


def _import(node: ast.Import | ast.ImportFrom) -> Iterator[Spot]:
    module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
    for alias in node.names:
        full = f"{module}.{alias.name}" if module else alias.name
        if full.startswith("sqlalchemy.dialects.sqlite"):
            yield Spot("sqlite-dialect", node, f"import of {full}")
            return


def _float_equality(node: ast.Call) -> Iterator[Spot]:
    for argument in node.args:
        for inner in ast.walk(argument):
            if isinstance(inner, ast.Compare) and isinstance(inner.ops[0], (ast.Eq, ast.NotEq)):
                right = inner.comparators[0]
                if isinstance(right, ast.Constant) and type(right.value) is float and right.value % 1:
                    yield Spot("float-equality", inner, ast.unparse(inner))
