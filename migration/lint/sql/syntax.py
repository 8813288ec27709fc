"""Statements, clauses, quotes and operators that SQLite alone has, or reads in its own way."""

from __future__ import annotations

import re
from collections.abc import Iterator

from migration.lint.columns import Columns
from migration.lint.sql.tokens import (
    COMPARISONS,
    Hit,
    Parts,
    Token,
    arguments,
    at,
    closing,
    declares,
    opening,
    outside,
    shown,
)

_TYPES = frozenset(
    (
        *("datetime", "blob", "double", "tinyint", "mediumint", "nvarchar", "nchar", "clob", "unsigned"),
        *("number", "string", "longtext", "mediumtext", "tinytext", "long", "currency", "object", "any"),
    )
)
_TAKES_TEXTS = frozenset(("coalesce", "nullif", "ifnull", "replace", "trim", "instr"))
_CATALOGS = frozenset(("sqlite_master", "sqlite_schema", "sqlite_sequence", "sqlite_temp_master"))
_BEFORE_TABLE = frozenset(("from", "join", "into", "update", "table", ",", "on"))
_BEFORE_NAME = frozenset(
    (
        *("select", "from", "join", "into", "update", "table", "where", "and", "or", "on", "by", "set"),
        *("as", "in", "not", "distinct", "having", "index"),
    )
)


def check(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """Every hazard of this kind."""
    for n, token in enumerate(parts):
        qualified = at(parts, n - 1).text == "."
        if token.kind == "word" and not qualified:
            yield from _word(parts, n, columns)
        elif token.low in ("rowid", "_rowid_") and qualified and token.name not in columns:
            yield Hit("rowid", token.offset, token.text)
        elif token.text == "==":
            yield Hit("double-equals", token.offset, "==", 2, "=")
        elif token.kind == "blob":
            yield Hit("blob-literal", token.offset, token.text)
        elif token.text in ("->", "->>"):
            yield from _path(parts, n, columns)
    yield from _statement(parts)
    yield from _quoting(parts, frozenset(columns))
    yield from _types(parts)


def _word(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    token, before, after = parts[n], at(parts, n - 1), at(parts, n + 1)
    word = token.low
    if word in ("insert", "update") and after.low == "or":
        yield Hit("insert-or", token.offset, shown(parts[n : n + 3]).upper())
    elif word == "replace" and after.low == "into" and before.low != "or":
        yield Hit("insert-or", token.offset, "REPLACE INTO")
    elif word == "autoincrement":
        yield Hit("autoincrement", token.offset, "AUTOINCREMENT")
    elif word == "glob" and after.kind != "mark":
        yield Hit("glob", token.offset, "GLOB")
    elif word == "like" and before.low not in ("create", "("):
        yield from _like(parts, n)
    elif word in ("main", "temp") and after.text == "." and before.low in _BEFORE_TABLE:
        yield Hit("sqlite-syntax", token.offset, f"{token.text} as a schema")
    elif word == "in" and after.is_name and at(parts, n + 2).text != "(":
        yield Hit("sqlite-syntax", token.offset, f"IN {after.text} without a subquery")
    elif word == "in" and after.text == "(" and at(parts, n + 2).text == ")":
        yield Hit("sqlite-syntax", token.offset, "IN ()")
    elif word == "oid" and any(token.low.startswith("pg_") for token in parts):
        return  # PostgreSQL's own catalog
    elif word in ("rowid", "_rowid_", "oid") and after.text != "(" and before.low != "without":
        yield Hit("rowid", token.offset, token.text)
    elif word in _CATALOGS:
        yield Hit("pragma", token.offset, token.text)
    elif word == "collate" and after.name in ("nocase", "binary", "rtrim"):
        yield Hit("collation", token.offset, shown(parts[n : n + 2]))
    elif word == "limit":
        yield from _limit(parts, n)
    elif word == "is":
        yield from _is(parts, n, columns)
    elif word == "not" and after.low == "null" and _ends_operand(before) and not declares(parts):
        yield Hit("is-values", token.offset, f"{before.text} NOT NULL")
    elif word == "conflict" and at(parts, n + 1).low == "do" and at(parts, n + 2).low == "update":
        yield Hit("upsert", token.offset, "ON CONFLICT DO UPDATE without a target")
    elif (word, after.low) in (("indexed", "by"), ("without", "rowid")):
        yield Hit("sqlite-syntax", token.offset, shown(parts[n : n + 2]))


def _ends_operand(token: Token) -> bool:
    """Whether a value ends here, so that what follows is an operator."""
    return token.is_name and token.low not in ("and", "or", "where", "on", "when", "not", "having", "is")


def _like(parts: Parts, n: int) -> Iterator[Hit]:
    if not _folded(parts, n):
        yield Hit("like-case", parts[n].offset, "LIKE")
    pattern = at(parts, n + 1)
    if pattern.kind == "text" and "\\" in pattern.text and at(parts, n + 2).low != "escape":
        yield Hit("like-escape", pattern.offset, pattern.text)


def _folded(parts: Parts, like: int) -> bool:
    """Whether what stands before LIKE is lower(...) or upper(...)."""
    n = like - 1
    if at(parts, n).low == "not":
        n -= 1
    if at(parts, n).text != ")":
        return False
    return at(parts, opening(parts, n) - 1).low in ("lower", "upper")


def _limit(parts: Parts, n: int) -> Iterator[Hit]:
    if at(parts, n + 2).text == ",":
        yield Hit("limit-form", parts[n].offset, shown(parts[n : n + 4]))
    elif at(parts, n + 1).text == "-":
        yield Hit("limit-form", parts[n].offset, shown(parts[n : n + 3]))


def _is(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    """IS between values: PostgreSQL has IS only before NULL, TRUE, FALSE, UNKNOWN and DISTINCT FROM."""
    m = n + 2 if at(parts, n + 1).low == "not" else n + 1
    right = at(parts, m)
    if right.low in ("null", "true", "false", "unknown", "distinct", "json", "document", "normalized"):
        return
    left = columns.get(at(parts, n - 1).name)
    if right.text in ("0", "1") and (left is None or left.kind in ("", "bool")):
        return  # named as a number that is compared with a Boolean, where the column is one
    yield Hit("is-values", parts[n].offset, shown(parts[n : m + 1]))


def _path(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    left = columns.get(at(parts, n - 1).name)
    path = at(parts, n + 1).text
    if path.startswith("'$") or left is None or left.kind != "json":
        yield Hit("json-path", parts[n].offset, shown(parts[n - 1 : n + 2]))


def _statement(parts: Parts) -> Iterator[Hit]:
    first, second = at(parts, 0), at(parts, 1)
    if first.low == "pragma":
        yield Hit("pragma", first.offset, f"PRAGMA {second.text}")
    elif first.low == "begin" and second.low in ("immediate", "exclusive", "deferred"):
        yield Hit("sqlite-syntax", first.offset, shown(parts[:2]))
    elif first.low == "explain" and second.low == "query":
        yield Hit("sqlite-syntax", first.offset, shown(parts[:3]))
    elif first.low == "reindex" and second.low not in ("table", "index", "schema", "database", "system", "("):
        yield Hit("sqlite-syntax", first.offset, shown(parts[:2]))
    elif first.low in ("update", "delete"):
        yield from _cut_write(parts)
    elif first.low == "create":
        yield from _create(parts)
    elif first.low in ("attach", "detach") or (first.low == "vacuum" and second.low == "into"):
        yield Hit("sqlite-syntax", first.offset, shown(parts[:2]))
    elif first.low == "with" and second.low != "recursive":
        yield from _recursion(parts)


def _cut_write(parts: Parts) -> Iterator[Hit]:
    """UPDATE and DELETE with LIMIT."""
    for _, token in outside(parts):
        if token.low in ("limit", "order"):
            yield Hit("sqlite-syntax", token.offset, f"{parts[0].text} with {token.text}")
            return


def _create(parts: Parts) -> Iterator[Hit]:
    """Forms of CREATE that SQLite alone has."""
    said = [token.low for token in parts]
    kind = next((n for n, word in enumerate(said) if word in ("table", "view", "trigger", "index")), 0)
    body = opening(parts, len(parts)) if ")" not in said else said.index("(") if "(" in said else 0
    if said[1:2] == ["virtual"]:
        yield Hit("sqlite-syntax", parts[1].offset, "CREATE VIRTUAL TABLE")
    elif said[kind] == "trigger" and "begin" in said:
        yield Hit("sqlite-syntax", parts[said.index("begin")].offset, "CREATE TRIGGER ... BEGIN")
    elif said[kind] == "view" and said[kind + 1 : kind + 3] == ["if", "not"]:
        yield Hit("sqlite-syntax", parts[kind].offset, "CREATE VIEW IF NOT EXISTS")
    elif said[kind] == "table" and at(parts, body).text == "(" and said[body - 1] != "as":
        if "strict" in said[closing(parts, body) :]:
            yield Hit("sqlite-syntax", parts[closing(parts, body) + 1].offset, "STRICT")
        for item in arguments(parts, body):
            yield from _declared(item)


def _declared(item: Parts) -> Iterator[Hit]:
    """One column of CREATE TABLE."""
    words = [token.low for token in item]
    if not item or words[0] in ("primary", "unique", "check", "foreign", "constraint"):
        return
    if len(item) == 1 or words[1] in ("primary", "not", "unique", "default", "check", "references"):
        yield Hit("sqlite-type", item[0].offset, f"{item[0].text} has no type")
        return
    sized = at(item, 2).text == "(" and (
        words[1] in ("integer", "int", "bigint", "text", "boolean", "datetime")
    )
    if sized or (words[1] == "float" and at(item, 2).text == "(" and "," in words[2 : closing(item, 2)]):
        yield Hit("sqlite-type", item[1].offset, shown(item[1:4]))
    for n, token in enumerate(item):
        if token.low == "conflict" and at(item, n - 1).low == "on":
            yield Hit("sqlite-syntax", token.offset, "ON CONFLICT of a constraint")
        elif token.low == "as" and at(item, n + 1).text == "(" and at(item, n - 1).low != "always":
            yield Hit("sqlite-syntax", token.offset, "AS (...) without GENERATED ALWAYS")
        elif token.kind == "quoted" and at(item, n - 1).low == "default":
            yield Hit("double-quoted-text", token.offset, token.text)


def _recursion(parts: Parts) -> Iterator[Hit]:
    for n, token in enumerate(parts):
        if token.low == "as" and at(parts, n + 1).text == "(":
            name = at(parts, n - 1)
            if name.text == ")":
                name = at(parts, opening(parts, n - 1) - 1)
            inner = parts[n + 1 : closing(parts, n + 1)]
            if name.is_name and any(
                t.name == name.name and at(inner, m - 1).low in ("from", "join", ",")
                for m, t in enumerate(inner)
            ):
                yield Hit("sqlite-syntax", parts[0].offset, f"WITH {name.text} that reads itself")


def _quoting(parts: Parts, columns: frozenset[str]) -> Iterator[Hit]:
    for n, token in enumerate(parts):
        before, after = at(parts, n - 1), at(parts, n + 1)
        if token.kind == "tick":
            yield Hit("quoted-name", token.offset, token.text)
        elif token.kind == "bracket" and re.fullmatch(r"\[[^\W\d][\w ]*\]", token.text):
            if before.kind not in ("word", "quoted", "bracket") or before.low in _BEFORE_NAME:
                yield Hit("quoted-name", token.offset, token.text)
        elif token.kind == "text" and before.low == "as" and not _body(parts, n):
            yield Hit("quoted-name", token.offset, token.text)
        elif token.kind == "quoted" and n and token.name not in columns and after.text != ".":
            operand = before.text in COMPARISONS or before.low in ("like", "||", "select", "then", "else")
            if operand or _in_values(parts, n) or _argument(parts, n, columns):
                yield Hit("double-quoted-text", token.offset, token.text)


def _argument(parts: Parts, n: int, columns: frozenset[str]) -> bool:
    """Whether a quoted name that no table has is the whole argument of a function, beside others."""
    before, after = at(parts, n - 1), at(parts, n + 1)
    named = sum(token.name == parts[n].name for token in parts) > 1 or not columns
    called = at(parts, opening(parts, n) - 1)
    function = called.kind == "word" and called.low in _TAKES_TEXTS
    return function and not named and before.text in ("(", ",") and after.text in (")", ",")


def _body(parts: Parts, n: int) -> bool:
    """Whether a text after AS is the body of a function and not a name."""
    return any(token.low == "function" for token in parts[:n])


def _in_values(parts: Parts, n: int) -> bool:
    """Whether a token stands in VALUES (...) or IN (...)."""
    depth = 0
    for token in reversed(parts[:n]):
        depth += {")": 1, "(": -1}.get(token.text, 0)
        if depth < 0 and token.text != "(":
            return token.low in ("values", "in")
        if token.low in ("select", "set", "where") and depth <= 0:
            return False
    return False


def _types(parts: Parts) -> Iterator[Hit]:
    """Types and defaults in CREATE TABLE and ALTER TABLE."""
    if not declares(parts) or not {t.low for t in parts[:4]} & {"table", "column"}:
        return
    kind = ""
    for n, token in enumerate(parts[:-1]):
        before, after = parts[n - 1] if n else token, parts[n + 1]
        word = token.low
        typed = before.is_name and before.low not in ("column", "default", "table", "exists")
        if word in _TYPES and typed and (word, after.low) != ("double", "precision"):
            yield Hit("sqlite-type", token.offset, token.text)
        if word in ("boolean", "bool", "text", "varchar", "datetime", "timestamp", "integer", "int"):
            kind = word
        if token.text == "," or word in ("check", "references"):
            kind = ""
        if word == "default" and kind in ("boolean", "bool") and after.text.strip("'") in ("0", "1"):
            value = "true" if after.text.strip("'") == "1" else "false"
            yield Hit("boolean-default", after.offset, f"DEFAULT {after.text}", len(after.text), value)
        elif word == "default" and after.low in ("current_timestamp", "current_time"):
            rule = "text-time-default" if kind in ("text", "varchar") else "local-time-default"
            yield Hit(rule, after.offset, f"DEFAULT {after.text}")
