"""Values and columns that meet in an operator: Booleans, numbers, texts and times keep apart on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator

from migration.lint.columns import Column, Columns
from migration.lint.sql.tokens import (
    COMPARISONS,
    Hit,
    Parts,
    Token,
    arguments,
    at,
    closing,
    shown,
)

_NUMBERS = frozenset(("int", "float", "numeric"))
_LIMIT = 2**31 - 1
_TIME = re.compile(r"'\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{6})?)?'")
_BEFORE_CONDITION = frozenset(("where", "and", "or", "not", "on", "having", "when"))
_AFTER_CONDITION = frozenset(("", ")", "and", "or", "then", "group", "order", "limit", ";"))


def check(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """Every hazard of this kind."""
    for n, token in enumerate(parts):
        if token.text in COMPARISONS or token.low == "is":
            yield from _compared(parts, n, columns)
        elif token.low == "in" and at(parts, n + 1).text == "(":
            yield from _listed(parts, n, columns)
        elif token.text == "||":
            yield from _joined(parts, n, columns)
        elif token.text in ("+", "-", "*", "/", "%"):
            yield from _calculated(parts, n, columns)
        elif token.kind == "word" and at(parts, n + 1).text == "(":
            yield from _called(parts, n, columns)
        elif token.low == "case" and _kind(at(parts, n + 1), columns) == "bool":
            yield from _case(parts, n)
        elif token.kind in ("word", "quoted", "number") and not _declares(parts):
            yield from _condition(parts, n, columns)
    yield from _large(parts)


def _declares(parts: Parts) -> bool:
    return at(parts, 0).low in ("create", "alter")


def _kind(token: Token, columns: Columns) -> str:
    return columns.get(token.name, Column()).kind if token.is_name else ""


def as_boolean(token: Token, about: str) -> Hit:
    """A number in the place of a Boolean. 0 and 1 have a meaning that can be written instead."""
    instead = {"0": "false", "1": "true"}.get(token.text)
    return Hit("boolean-number", token.offset, about, len(token.text), instead)


def _compared(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    left, operator, right = at(parts, n - 1), parts[n], at(parts, n + 1)
    if operator.low == "is" and right.low == "not":
        right = at(parts, n + 2)
    about = f"{left.text} {operator.text} {right.text}"
    if left.kind in ("number", "text") and right.is_name and at(parts, n + 2).text not in ("(", "."):
        left, right = right, left
    if at(parts, n + 2).text == "." and at(parts, n + 3).is_name and left.kind in ("number", "text"):
        left, right = parts[n + 3], left
    kind = _kind(left, columns)
    if right.kind == "number":
        if kind == "bool":
            yield as_boolean(right, about)
        elif kind == "text" and not _assigns(parts, n):
            yield Hit("text-number", right.offset, about)
        elif kind == "int" and has_fraction(right) and _assigns(parts, n):
            yield Hit("inexact-integer", right.offset, about)
        elif left.is_name and has_fraction(right) and operator.text[0] not in "<>" and not _assigns(parts, n):
            yield Hit("float-equality", right.offset, about)
    elif right.kind == "text":
        yield from against_text(parts, n, kind, right, about)


def has_fraction(number: Token) -> bool:
    return "." in number.text and float(number.text) % 1 != 0


def against_text(parts: Parts, n: int, kind: str, right: Token, about: str) -> Iterator[Hit]:
    value = right.text[1:-1]
    if kind == "bool" and value not in ("0", "1"):
        yield Hit("boolean-text", right.offset, about)
    elif kind in _NUMBERS and not re.fullmatch(r"\s*[-+]?\d+(\.\d*)?\s*", value):
        yield Hit("text-number", right.offset, about)
    elif kind == "time" and not _assigns(parts, n):
        found = _TIME.fullmatch(right.text)
        if not found or (not found[1] and parts[n].text in ("=", "==", "<=", ">", "<>", "!=")):
            yield Hit("time-literal", right.offset, about)


def _assigns(parts: Parts, n: int) -> bool:
    """Whether a `=` belongs to SET or to a list of defaults and not to a condition."""
    for token in reversed(parts[:n]):
        if token.low in ("where", "on", "having", "when", "and", "or", "check", "select"):
            return False
        if token.low == "set":
            return True
    return False


def _listed(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    left = at(parts, n - 2) if at(parts, n - 1).low == "not" else at(parts, n - 1)
    kind = _kind(left, columns)
    for item in arguments(parts, n + 1):
        if len(item) != 1:
            continue
        about = f"{left.text} IN ({item[0].text})"
        if item[0].kind == "number" and kind == "bool":
            yield as_boolean(item[0], about)
        elif item[0].kind == "number" and kind == "text":
            yield Hit("text-number", item[0].offset, about)
        elif item[0].kind == "text" and kind in (*_NUMBERS, "time", "bool"):
            yield from against_text(parts, n, kind, item[0], about)


def _joined(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    """`||`: PostgreSQL joins a text with anything, but writes numbers and Booleans in its own way."""
    sides = (at(parts, n - 1), at(parts, n + 1))
    kinds = [_kind(side, columns) or {"number": "int", "text": "text"}.get(side.kind, "") for side in sides]
    own_way = set(kinds) & {"float", "bool", "time"}
    if own_way or all(kind in _NUMBERS for kind in kinds):
        yield Hit("joined-number", parts[n].offset, shown(parts[n - 1 : n + 2]))


def _calculated(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    left, operator, right = at(parts, n - 1), parts[n], at(parts, n + 1)
    about = shown(parts[n - 1 : n + 2])
    for side in (left, right):
        if _kind(side, columns) == "bool":
            yield Hit("boolean-arithmetic", side.offset, about)
        elif _kind(side, columns) in ("time", "date") and side is left and right.kind == "number":
            yield Hit("date-arithmetic", side.offset, about)
        elif _kind(side, columns) == "text" and at(parts, n - 1).text != "(":
            yield Hit("text-number", side.offset, about)
    if operator.text == "%" and {_kind(left, columns), _kind(right, columns)} & {"float"}:
        yield Hit("float-remainder", operator.offset, about)
    if operator.text in "/%" and (right.is_name or right.text == "("):
        if not (right.low in ("nullif", "cast", "power") and at(parts, n + 2).text == "("):
            yield Hit("division-by-zero", operator.offset, about)
        elif right.low == "nullif" and left.text == ")":
            yield from _average(parts, n, columns)
    if operator.text == "/" and left.text == ")" and right.low != "nullif":
        yield from _average(parts, n, columns)


def _average(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    """sum(whole numbers) / ...: cut off on SQLite, with fractions on PostgreSQL."""
    inner, function = at(parts, n - 2), at(parts, n - 4)
    if function.low == "sum" and _kind(inner, columns) == "int":
        yield Hit("integer-average", function.offset, shown(parts[n - 4 : n + 2]))


def _called(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    word = parts[n].low
    inner = parts[n + 2 : closing(parts, n + 1)]
    about = shown(parts[n : closing(parts, n + 1) + 1])
    if word in ("sum", "avg", "min", "max", "total", "abs"):
        lone = _kind(inner[-1], columns) if len(inner) in (1, 3) else ""
        compared = word == "sum" and any(t.text in COMPARISONS for t in inner)
        if lone == "bool" or (compared and not any(t.low in ("case", "select") for t in inner)):
            yield Hit("boolean-arithmetic", parts[n].offset, about)
    elif word in ("coalesce", "nullif", "ifnull"):
        given = arguments(parts, n + 1)
        if any(_kind(item[-1], columns) == "bool" for item in given if item):
            for item in given:
                if len(item) == 1 and item[0].kind == "number":
                    yield as_boolean(item[0], about)


def _case(parts: Parts, n: int) -> Iterator[Hit]:
    """CASE flag WHEN 1 THEN."""
    for m in range(n, len(parts)):
        if parts[m].low == "end":
            return
        if parts[m].low == "when" and at(parts, m + 1).text in ("0", "1"):
            yield as_boolean(parts[m + 1], shown(parts[n : m + 2]))


def _condition(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    """A number where PostgreSQL wants a condition: WHERE qty, AND 1, NOT qty."""
    token, before = parts[n], at(parts, n - 1)
    if before.text == ".":
        before = at(parts, n - 3)
    number = token.kind == "number" or _kind(token, columns) in _NUMBERS
    if number and before.low in _BEFORE_CONDITION and at(parts, n + 1).low in _AFTER_CONDITION:
        between = before.low == "and" and any(t.low == "between" for t in parts[max(0, n - 5) : n])
        simple_case = before.low == "when" and at(parts, n - 2).low != "case"
        if not between and not simple_case:
            yield Hit("number-as-condition", token.offset, f"{before.text} {token.text}")


def _large(parts: Parts) -> Iterator[Hit]:
    """Whole numbers that are calculated with in 32 bits on PostgreSQL, beyond which it refuses."""
    n = 0
    while n < len(parts):
        end = n + 1
        while at(parts, end).text in ("+", "-", "*") and at(parts, end + 1).text.isdigit():
            end += 2
        if parts[n].text.isdigit() and end > n + 1:
            numbers = [int(token.text) for token in parts[n:end:2]]
            total = numbers[0]
            for operator, number in zip(parts[n + 1 : end : 2], numbers[1:], strict=True):
                total = {"+": total + number, "-": total - number, "*": total * number}[operator.text]
            if max(numbers) <= _LIMIT < abs(total) or abs(total) >= 2**63:
                yield Hit("integer-overflow", parts[n].offset, shown(parts[n:end]))
        n = end
