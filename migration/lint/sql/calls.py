"""Functions and casts that PostgreSQL lacks, or that give another answer there."""

from __future__ import annotations

from collections.abc import Iterator

from migration.lint.columns import Columns
from migration.lint.sql.kinds import NOW, NUMBERS, TIMES, column_kind
from migration.lint.sql.tokens import Hit, Parts, Token, arguments, at, closing, opening, shown

# Functions of SQLite that PostgreSQL lacks, or that take other arguments there.
FUNCTIONS = frozenset(
    (
        *("strftime", "julianday", "datetime", "unixepoch", "timediff", "ifnull", "iif", "group_concat"),
        *("printf", "instr", "randomblob", "zeroblob", "last_insert_rowid", "changes", "total_changes"),
        *("json_extract", "json_each", "json_tree", "json_group_array", "json_group_object"),
        *("json_insert", "json_patch", "json_remove", "json_replace", "json_set", "json_type"),
        *("json_valid", "json_quote", "json_array_length", "typeof", "hex", "unhex", "char", "unicode"),
        *("likely", "unlikely", "total", "sqlite_version", "quote", "soundex", "load_extension"),
        *("likelihood", "log2", "sqlite_source_id", "sqlite_compileoption_used", "sqlite_compileoption_get"),
        *("json", "json_array", "json_object", "jsonb", "glob", "sqlite_offset", "subtype", "median"),
    )
)
# min and max of several values are aggregates on PostgreSQL; date and time take no modifiers there.
ONE_ARGUMENT = frozenset(("min", "max", "date", "time"))
_OF_TEXTS = frozenset(
    ("length", "upper", "lower", "trim", "ltrim", "rtrim", "replace", "substr", "substring")
)
_NO_TEXTS = NUMBERS | TIMES | {"bool"}
_NAMED_TYPES = frozenset(("string", "unsigned", "signed", "nvarchar", "nchar", "clob", "none", "any"))
_OTHER_TYPES = {
    "real": "4 bytes on PostgreSQL",
    "date": "a number on SQLite",
    "boolean": "a number on SQLite",
    "datetime": "unknown to PostgreSQL",
    "timestamp": "a number on SQLite",
    "blob": "unknown to PostgreSQL",
}


def check(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """Every hazard of this kind."""
    for n, token in enumerate(parts):
        if token.kind != "word" or at(parts, n - 1).text == ".":
            continue
        if at(parts, n + 1).text == "(":
            yield from _call(parts, n, columns)
        elif token.low in NOW and _is_selected(parts, n, n):
            yield Hit("date-value", token.offset, token.text)


def _call(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    word, offset = parts[n].low, parts[n].offset
    given = arguments(parts, n + 1)
    if word in FUNCTIONS:
        replacement = "coalesce" if word == "ifnull" else None
        yield Hit("sqlite-function", offset, f"{word}()", len(word), replacement)
    elif word in ONE_ARGUMENT and len(given) > 1:
        yield Hit("sqlite-function", offset, f"{word}() with several arguments")
    elif word == "format" and at(given[0], 0).text.replace("%s", "").count("%"):
        yield Hit("sqlite-function", offset, shown(parts[n : n + 3]))
    elif word == "count" and not given[0]:
        yield Hit("sqlite-function", offset, "count() without *")
    elif word.startswith("pragma_"):
        yield Hit("pragma", offset, f"{word}()")
    elif word == "mod" and "float" in [_kind(item, columns) for item in given]:
        yield Hit("float-remainder", offset, shown(parts[n : closing(parts, n + 1) + 1]))
    elif word == "round":
        yield from _round(parts, n, given, columns)
    elif word == "cast":
        yield from _cast(parts, n, columns)
    elif word in ("substr", "substring"):
        if any(at(item, 0).text == "-" or _by_column(item, columns) for item in given[1:]):
            yield Hit("substr-negative", offset, shown(parts[n : closing(parts, n + 1) + 1]))
    elif word in ("date", "time") and _is_selected(parts, n, closing(parts, n + 1)):
        yield Hit("date-value", offset, shown(parts[n : closing(parts, n + 1) + 1]))
    elif word == "random" and at(parts, n - 1).low != "by":
        yield Hit("random", offset, "random()")
    elif word == "avg" and _kind(given[0], columns) == "int":
        yield Hit("integer-average", offset, shown(parts[n : closing(parts, n + 1) + 1]))
    texts = given if word == "replace" else given[:1]
    if word in _OF_TEXTS and any(_kind(t, columns) in _NO_TEXTS or at(t, 0).kind == "number" for t in texts):
        yield Hit("number-as-text", offset, shown(parts[n : closing(parts, n + 1) + 1]))


def _kind(item: Parts, columns: Columns) -> str:
    """The kind of an expression that is one column. Empty for anything else."""
    return column_kind(item[-1], columns) if len(item) in (1, 3) else ""


def _by_column(item: Parts, columns: Columns) -> bool:
    """Whether a place in a text is counted by a column: PostgreSQL takes no bigint there."""
    return any(
        column_kind(token, columns) == "int" and at(item, n - 1).text != "(" for n, token in enumerate(item)
    )


def _round(parts: Parts, n: int, given: list[list[Token]], columns: Columns) -> Iterator[Hit]:
    if _kind(given[0], columns) in ("int", "numeric"):
        return
    yield Hit("rounding", parts[n].offset, shown(parts[n : closing(parts, n + 1) + 1]))


def _cast(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    inner = parts[n + 2 : closing(parts, n + 1)]
    split = max((m for m, token in enumerate(inner) if token.low == "as"), default=-1)
    if split < 0:
        return
    kind, target = _kind(inner[:split], columns), at(inner, split + 1).low
    about = shown(parts[n : closing(parts, n + 1) + 1])
    sized = at(inner, split + 2).text == "("
    limited = target in ("varchar", "char", "character", "decimal", "numeric") and sized
    literal = at(inner, 0) if split == 1 else at((), 0)
    if kind == "text" and target in ("numeric", "decimal", "double", "float", "real"):
        yield Hit("cast-integer", parts[n].offset, about)
        return
    if target in ("integer", "int", "bigint", "smallint") and kind not in ("int", "bool"):
        yield Hit("cast-integer", parts[n].offset, about)
    elif target == "text" and (
        kind in ("float", "bool", "time") or "e" in literal.low[1:] * (literal.kind == "number")
    ):
        yield Hit("cast-text", parts[n].offset, about)
    elif target in ("char", "character") and not sized and at(inner, split + 2).low != "varying":
        yield Hit("cast-type", parts[n].offset, f"{about}: one character on PostgreSQL")
    elif target in _OTHER_TYPES or target in _NAMED_TYPES or limited:
        unknown = "unknown to PostgreSQL" if target in _NAMED_TYPES else "SQLite ignores the length"
        why = _OTHER_TYPES.get(target, unknown)
        yield Hit("cast-type", parts[n].offset, f"{about}: {why}")


def _is_selected(parts: Parts, n: int, end: int) -> bool:
    """Whether a time is a result as it stands, a text on SQLite. Compared or cast it is alike on both."""
    before, after = at(parts, n - 1).low, at(parts, end + 1).low
    if before not in ("select", "distinct", ",") or after not in ("", ",", "as", "from", ")"):
        return False
    for token in reversed(parts[opening(parts, n) + 1 : n]):
        if token.low in ("from", "where", "group", "order", "having", "values", "set"):
            return False
        if token.low == "select":
            return True
    return False
