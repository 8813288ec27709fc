"""Hazards in SQL texts, found on tokens: what is in a literal or a comment is left alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Functions of SQLite that PostgreSQL lacks, or that take other arguments there.
FUNCTIONS = frozenset(
    [
        "strftime",
        "julianday",
        "datetime",
        "unixepoch",
        "timediff",
        "ifnull",
        "iif",
        "group_concat",
        "printf",
        "instr",
        "randomblob",
        "zeroblob",
        "last_insert_rowid",
        "changes",
        "total_changes",
        "json_extract",
        "json_each",
        "json_tree",
        "json_group_array",
        "json_group_object",
        "json_insert",
        "json_patch",
        "json_remove",
        "json_replace",
        "json_set",
        "json_type",
        "json_valid",
        "json_quote",
        "json_array_length",
        "typeof",
        "hex",
        "unhex",
        "char",
        "unicode",
        "likely",
        "unlikely",
        "total",
        "sqlite_version",
    ]
)
# min and max of several values are aggregates on PostgreSQL; date and time take no modifiers there.
_ONE_ARGUMENT = frozenset(("min", "max", "date", "time"))
_AGGREGATES = frozenset(
    [
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "group_concat",
        "string_agg",
        "array_agg",
        "json_agg",
        "bool_and",
        "bool_or",
        "total",
        "every",
    ]
)
_COMPARISONS = frozenset(("=", "==", "<>", "!=", "<", ">", "<=", ">=", "like", "||"))
_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<text>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")*")
    |(?P<tick>`[^`]*`)|(?P<bracket>\[[^\]\[]*\])|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<parameter>%\(\w+\)s|%s|(?<!:):[A-Za-z_]\w*|\?\d*)|(?P<word>[^\W\d]\w*)
    |(?P<mark><>|!=|<=|>=|==|\|\||::|[^\s])""",
    re.X | re.S,
)


@dataclass(frozen=True)
class Token:
    """A piece of SQL: `kind` is the name of the pattern's group, `low` its text in lower case."""

    kind: str
    text: str
    offset: int

    @property
    def low(self) -> str:
        return self.text.lower()

    @property
    def name(self) -> str:
        """The identifier without quotes, in lower case."""
        return self.low.strip('"')


@dataclass(frozen=True)
class Hit:
    """A hazard in a text: the rule, where it is, what it is about, and a replacement if that is mechanical."""

    rule: str
    offset: int
    about: str
    length: int = 0
    replacement: str | None = None


def tokens(sql: str) -> list[Token]:
    """The tokens of a text, comments left out."""
    found = (Token(m.lastgroup or "", m.group(), m.start()) for m in _TOKEN.finditer(sql))
    return [token for token in found if token.kind != "comment"]


def check(sql: str, booleans: frozenset[str], columns: frozenset[str]) -> Iterator[Hit]:
    """Every hazard in an SQL text.

    Args:
        booleans: names of columns that are Boolean wherever they occur.
        columns: names of all columns, so that a quoted name is told from a quoted text.
    """
    parts = tokens(sql)
    yield from _words(parts)
    yield from _quoting(parts, columns)
    yield from _comparisons(parts, booleans)
    yield from _inserted(parts, booleans)
    yield from _declared(parts)
    yield from _grouping(parts)


def _words(parts: Sequence[Token]) -> Iterator[Hit]:
    padded = [*parts, Token("mark", "", 0), Token("mark", "", 0)]
    for n, token in enumerate(parts):
        after, second = padded[n + 1], padded[n + 2]
        before = parts[n - 1].low if n else ""
        if token.kind != "word" or before == ".":
            continue
        word = token.low
        if after.text == "(":
            yield from _call(parts, n)
        if word in ("insert", "update") and after.low == "or":
            yield Hit("insert-or", token.offset, f"{token.text} OR {second.text}".upper())
        elif word == "replace" and after.low == "into" and before != "or":
            yield Hit("insert-or", token.offset, "REPLACE INTO")
        elif word == "pragma" and n == 0:
            yield Hit("pragma", token.offset, f"PRAGMA {after.text}")
        elif word == "autoincrement":
            yield Hit("autoincrement", token.offset, "AUTOINCREMENT")
        elif word == "glob" and after.kind != "mark":
            yield Hit("glob", token.offset, "GLOB")
        elif word == "like" and before not in ("create", "(") and not _folded(parts, n):
            yield Hit("like-case", token.offset, "LIKE")
        elif word in ("rowid", "_rowid_"):
            yield Hit("rowid", token.offset, token.text)


def _call(parts: Sequence[Token], n: int) -> Iterator[Hit]:
    word = parts[n].low
    if word in FUNCTIONS:
        replacement = "coalesce" if word == "ifnull" else None
        yield Hit("sqlite-function", parts[n].offset, f"{word}()", len(word), replacement)
    elif word in _ONE_ARGUMENT and len(_arguments(parts, n + 1)) > 1:
        yield Hit("sqlite-function", parts[n].offset, f"{word}() with several arguments")


def _folded(parts: Sequence[Token], like: int) -> bool:
    """Whether what stands before LIKE is lower(...) or upper(...)."""
    n = like - 1
    if n >= 0 and parts[n].low == "not":
        n -= 1
    depth = 0
    while (n >= 0 and parts[n].text in ")(") or (depth and n >= 0):
        depth += {")": 1, "(": -1}.get(parts[n].text, 0)
        n -= 1
    return n >= 0 and parts[n].low in ("lower", "upper")


def _quoting(parts: Sequence[Token], columns: frozenset[str]) -> Iterator[Hit]:
    for n, token in enumerate(parts):
        before = parts[n - 1] if n else None
        if token.kind == "tick":
            yield Hit("quoted-name", token.offset, token.text)
        elif token.kind == "bracket" and re.fullmatch(r"\[[^\W\d][\w ]*\]", token.text):
            if not (
                before and before.kind in ("word", "quoted", "bracket") and before.low not in _BEFORE_NAME
            ):
                yield Hit("quoted-name", token.offset, token.text)
        elif token.kind == "quoted" and before is not None and token.name not in columns:
            next_text = parts[n + 1].text if n + 1 < len(parts) else ""
            if next_text != "." and (before.low in _COMPARISONS or _in_values(parts, n)):
                yield Hit("double-quoted-text", token.offset, token.text)


_BEFORE_NAME = frozenset(
    [
        "select",
        "from",
        "join",
        "into",
        "update",
        "table",
        "where",
        "and",
        "or",
        "on",
        "by",
        "set",
        "as",
        "in",
        "not",
        "distinct",
        "having",
        "index",
    ]
)


def _in_values(parts: Sequence[Token], n: int) -> bool:
    """Whether a token stands in VALUES (...) or IN (...)."""
    depth = 0
    for token in reversed(parts[:n]):
        depth += {")": 1, "(": -1}.get(token.text, 0)
        if depth < 0 and token.text != "(":
            return token.low in ("values", "in")
        if token.low in ("select", "set", "where") and depth <= 0:
            return False
    return False


def _comparisons(parts: Sequence[Token], booleans: frozenset[str]) -> Iterator[Hit]:
    for n in range(len(parts) - 2):
        left, operator, right = parts[n : n + 3]
        if operator.text not in ("=", "==", "<>", "!=") and operator.low != "is":
            continue
        if right.kind == "number" and left.kind in ("word", "quoted"):
            if right.text in ("0", "1") and left.name in booleans:
                value = "true" if right.text == "1" else "false"
                yield Hit(
                    "boolean-number", right.offset, f"{left.text} {operator.text} {right.text}", 1, value
                )
            elif "." in right.text and float(right.text) % 1 and not _assigns(parts, n):
                yield Hit("float-equality", right.offset, f"{left.text} {operator.text} {right.text}")


def _assigns(parts: Sequence[Token], n: int) -> bool:
    """Whether a `=` belongs to SET or to a list of defaults and not to a condition."""
    for token in reversed(parts[:n]):
        if token.low in ("where", "on", "having", "when", "and", "or", "check"):
            return False
        if token.low == "set":
            return True
    return False


def _inserted(parts: Sequence[Token], booleans: frozenset[str]) -> Iterator[Hit]:
    """0 and 1 in the places of Boolean columns of INSERT ... VALUES and INSERT ... SELECT."""
    for n, (token, after) in enumerate(pairwise(parts)):
        if token.low != "into" or after.kind not in ("word", "quoted"):
            continue
        if n + 2 >= len(parts) or parts[n + 2].text != "(":
            continue
        columns = [item[-1].name for item in _arguments(parts, n + 2) if item]
        rows = _rows(parts, _closing(parts, n + 2) + 1)
        for row in rows:
            for column, item in zip(columns, row, strict=False):
                if column in booleans and len(item) == 1 and item[0].text in ("0", "1"):
                    value = "true" if item[0].text == "1" else "false"
                    yield Hit("boolean-number", item[0].offset, f"{column}: {item[0].text}", 1, value)


def _rows(parts: Sequence[Token], n: int) -> Iterator[list[list[Token]]]:
    """The rows that VALUES lists, or the one that SELECT describes, from token n on."""
    if n >= len(parts):
        return
    if parts[n].low == "select":
        yield _split(parts, n + 1, _end_of_list(parts, n + 1))
    elif parts[n].low == "values":
        n += 1
        while n < len(parts) and parts[n].text == "(":
            yield _arguments(parts, n)
            n = _closing(parts, n) + 2


def _declared(parts: Sequence[Token]) -> Iterator[Hit]:
    """Defaults in CREATE TABLE and ALTER TABLE: 0 and 1 of Booleans, the current time as text."""
    if not parts or parts[0].low not in ("create", "alter"):
        return
    kind = ""
    for n, token in enumerate(parts[:-1]):
        after = parts[n + 1]
        if token.low in ("boolean", "bool", "text", "varchar", "datetime", "timestamp", "integer", "int"):
            kind = token.low
        if token.text == "," or token.low in ("check", "references"):
            kind = ""
        if token.low != "default":
            continue
        if kind in ("boolean", "bool") and after.text.strip("'") in ("0", "1"):
            value = "true" if after.text.strip("'") == "1" else "false"
            yield Hit("boolean-default", after.offset, f"DEFAULT {after.text}", len(after.text), value)
        elif after.low in ("current_timestamp", "current_time"):
            rule = "text-time-default" if kind in ("text", "varchar") else "local-time-default"
            yield Hit(rule, after.offset, f"DEFAULT {after.text}")


def _grouping(parts: Sequence[Token]) -> Iterator[Hit]:
    """Selected columns that are neither grouped nor aggregated, in selects without inner ones."""
    words = [token.low for token in parts]
    if "group" not in words or words.count("select") != 1:
        return
    start, group = words.index("select") + 1, words.index("group")
    if group + 1 >= len(parts) or words[group + 1] != "by":
        return
    grouped = [_shape(item) for item in _split(parts, group + 2, _end_of_list(parts, group + 2))]
    by_key = {item.rpartition(".")[0] for item in grouped if item.rpartition(".")[2] == "id"}
    for n, item in enumerate(_split(parts, start, _end_of_list(parts, start)), start=1):
        expression, alias = _without_alias(item)
        shape = _shape(expression)
        if not expression or {shape, alias, str(n)} & set(grouped) or shape.rpartition(".")[0] in by_key:
            continue
        if any(t.kind == "word" and t.low in _AGGREGATES for t in expression):
            continue
        if any(t.kind in ("word", "quoted") for t in expression) or expression[-1].text == "*":
            yield Hit("group-by", expression[0].offset, " ".join(t.text for t in expression))


def _shape(item: Sequence[Token]) -> str:
    return "".join(token.name for token in item)


def _without_alias(item: Sequence[Token]) -> tuple[list[Token], str]:
    words = [token.low for token in item]
    if words and words[0] == "distinct":
        item, words = item[1:], words[1:]
    if len(item) > 2 and words[-2] == "as":
        return list(item[:-2]), item[-1].name
    return list(item), ""


_ENDS = frozenset(
    ["from", "where", "having", "order", "limit", "group", "union", "returning", "window", "on", ";"]
)


def _end_of_list(parts: Sequence[Token], n: int) -> int:
    depth = 0
    for m in range(n, len(parts)):
        if depth == 0 and (parts[m].low in _ENDS or parts[m].text == ")"):
            return m
        depth += {"(": 1, ")": -1}.get(parts[m].text, 0)
    return len(parts)


def _closing(parts: Sequence[Token], opening: int) -> int:
    depth = 0
    for m in range(opening, len(parts)):
        depth += {"(": 1, ")": -1}.get(parts[m].text, 0)
        if depth == 0:
            return m
    return len(parts)


def _arguments(parts: Sequence[Token], opening: int) -> list[list[Token]]:
    """What stands in parentheses, split at the commas."""
    return _split(parts, opening + 1, _closing(parts, opening))


def _split(parts: Sequence[Token], start: int, end: int) -> list[list[Token]]:
    items: list[list[Token]] = [[]]
    depth = 0
    for token in parts[start:end]:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if token.text == "," and depth == 0:
            items.append([])
        else:
            items[-1].append(token)
    return items
