"""Values and columns that meet in an operator: Booleans, numbers, texts and times keep apart on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

from migration.lint.columns import Columns
from migration.lint.sql.kinds import (
    ARITHMETIC,
    FRACTION,
    NUMBERS,
    TIMES,
    against_text,
    as_boolean,
    assigns,
    column_kind,
    has_fraction,
    kind_of,
    left_of,
    mixed,
    results,
    right_of,
    stored,
    tells_days_apart,
    together,
)
from migration.lint.sql.tokens import (
    COMPARISONS,
    Hit,
    Parts,
    arguments,
    at,
    closing,
    declares,
    shown,
)

_LIMIT = 2**31 - 1
_BEFORE_CONDITION = frozenset(("where", "and", "or", "not", "on", "having", "when"))
_AFTER_OPERAND = frozenset(("in", "is", "like", "between", "glob", "not", "collate", "over"))


def check(parts: Parts, columns: Columns) -> Iterator[Hit]:
    """Every hazard of this kind."""
    for n, token in enumerate(parts):
        if token.text in COMPARISONS or token.low == "is":
            yield from _compared(parts, n, columns)
        elif token.low == "in" and at(parts, n + 1).text == "(":
            yield from _listed(parts, n, columns)
        elif token.low == "between":
            yield from _bounded(parts, n, columns)
        elif token.text == "||":
            yield from _joined(parts, n, columns)
        elif token.text in ARITHMETIC:
            yield from _calculated(parts, n, columns)
        elif token.kind == "word" and at(parts, n + 1).text == "(" and token.low not in _BEFORE_CONDITION:
            yield from _called(parts, n, columns)
        elif token.low == "case":
            yield from _case(parts, n, columns)
        if token.low in _BEFORE_CONDITION and not declares(parts):
            yield from _condition(parts, n, columns)
    yield from _large(parts)


def _compared(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    left, operator, right = at(parts, n - 1), parts[n], at(parts, n + 1)
    if operator.low == "is" and right.low == "not":
        right = at(parts, n + 2)
    about = f"{left.text} {operator.text} {right.text}"
    if left.kind in ("number", "text") and right.is_name and at(parts, n + 2).text not in ("(", "."):
        left, right = right, left
    if at(parts, n + 2).text == "." and at(parts, n + 3).is_name and left.kind in ("number", "text"):
        left, right = parts[n + 3], left
    kind = column_kind(left, columns)
    if right.kind == "number":
        if kind == "bool":
            yield as_boolean(right, about)
        elif kind == "text" and not assigns(parts, n):
            yield Hit("text-number", right.offset, about)
        elif kind == "int" and has_fraction(right) and assigns(parts, n):
            yield Hit("inexact-integer", right.offset, about)
        elif left.is_name and has_fraction(right) and operator.text[0] not in "<>" and not assigns(parts, n):
            yield Hit("float-equality", right.offset, about)
    elif right.kind == "text":
        yield from against_text(kind, right, about, by_day=tells_days_apart(parts, n))
    if operator.low == "is":
        if right.low in ("true", "false") and kind_of(left_of(parts, n), columns) in NUMBERS:
            yield Hit("number-as-condition", parts[n - 1].offset, about)
        return
    ours, theirs = left_of(parts, n), right_of(parts, n)
    written = {left.kind, right.kind} & {"number", "text"}
    if not (written and _plain(ours) and _plain(theirs)):
        kinds = kind_of(ours, columns), kind_of(theirs, columns)
        if assigns(parts, n):
            yield from stored(kinds[0], kinds[1], theirs, shown(parts[n - 1 : n + 1 + len(theirs)]))
        elif ours and theirs:
            yield from mixed(kinds, ours[0], shown([*ours, operator, *theirs]))
    elif left.kind in ("number", "text") and right.kind in ("number", "text") and left.kind != right.kind:
        yield Hit("text-number", right.offset, about)
    elif kind in TIMES and right.kind == "number":
        yield Hit("date-arithmetic", right.offset, about)


def _plain(operand: Parts) -> bool:
    """Whether an operand is one value or column."""
    return len(operand) == 1 or (len(operand) == 3 and operand[1].text == ".")


def _listed(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    left = at(parts, n - 2) if at(parts, n - 1).low == "not" else at(parts, n - 1)
    kind = column_kind(left, columns)
    given = arguments(parts, n + 1)
    if given and given[0] and given[0][0].low == "select":
        end = next((m for m, t in enumerate(given[0]) if t.low == "from"), len(given[0]))
        kinds = (kind, kind_of(given[0][1:end], columns)) if len(given) == 1 else ()
        yield from mixed(kinds, left, shown(parts[n - 1 : n + 4]))
    for item in given:
        if len(item) != 1:
            continue
        about = f"{left.text} IN ({item[0].text})"
        if item[0].kind == "number" and kind == "bool":
            yield as_boolean(item[0], about)
        elif item[0].kind == "number" and kind == "text":
            yield Hit("text-number", item[0].offset, about)
        elif item[0].kind == "text" and kind in (*NUMBERS, "time", "bool"):
            yield from against_text(kind, item[0], about)


def _bounded(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    """x BETWEEN a AND b."""
    left = at(parts, n - 2) if at(parts, n - 1).low == "not" else at(parts, n - 1)
    kind = column_kind(left, columns)
    low = right_of(parts, n)
    upper = n + len(low) + 1
    for bound, place in ((low, n), (right_of(parts, upper), upper)):
        about = f"{left.text} BETWEEN {shown(bound)}"
        if len(bound) == 1 and bound[0].kind == "text":
            yield from against_text(kind, bound[0], about, by_day=tells_days_apart(parts, place))
        elif bound:
            yield from mixed((kind, kind_of(bound, columns)), bound[0], about)


def _joined(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    """`||`: PostgreSQL joins a text with anything, but writes numbers and Booleans in its own way."""
    sides = (at(parts, n - 1), at(parts, n + 1))
    kinds = [kind_of([side], columns).replace("literal", "text") for side in sides]
    own_way = set(kinds) & {"float", "numeric", "bool", "time"}
    later = {at(parts, n - 2).text, at(parts, n + 2).text} & (ARITHMETIC - {"&", "|"})
    if own_way or all(kind in NUMBERS for kind in kinds) or later:
        yield Hit("joined-number", parts[n].offset, shown(parts[n - 1 : n + 2]))


def _calculated(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    left, operator, right = at(parts, n - 1), parts[n], at(parts, n + 1)
    about = shown(parts[n - 1 : n + 2])
    terms = left_of(parts, n, tight=True), right_of(parts, n, tight=True)
    kinds = [kind_of(term, columns) for term in terms]
    for side, term, kind in zip((left, right), terms, kinds, strict=True):
        other = kinds[1] if side is left else kinds[0]
        if kind == "bool":
            yield Hit("boolean-arithmetic", side.offset, about)
        elif kind in TIMES and side is left and (other in NUMBERS or right.kind == "text"):
            yield Hit("date-arithmetic", side.offset, about)
        elif (kind == "text" and len(term) == 1 and at(parts, n - 1).text != "(") or (
            kind == "literal"
            and other not in ("", *TIMES)
            and not (other in NUMBERS and FRACTION.fullmatch(term[0].text[1:-1]))
        ):
            yield Hit("text-number", side.offset, about)
    if not terms[0]:
        return
    if "numeric" in kinds and set(kinds) <= {"int", "numeric"} and any(map(_written, terms)):
        yield Hit("decimal-fraction", terms[0][0].offset, about)
    if operator.text == "%" and {*kinds} & {"float"}:
        yield Hit("float-remainder", operator.offset, about)
    if operator.text in "/%" and right.low != "null" and (right.is_name or right.text in ("(", "0", "0.0")):
        if not (right.low in ("nullif", "cast", "power") and at(parts, n + 2).text == "("):
            yield Hit("division-by-zero", operator.offset, about)
        elif right.low == "nullif" and left.text == ")":
            yield from _average(parts, n, columns)
    if operator.text == "/" and left.text == ")" and right.low != "nullif":
        yield from _average(parts, n, columns)


def _written(term: Parts) -> bool:
    """Whether an operand is a number with a fraction, as it is written."""
    return any(token.kind == "number" and not token.text.isalnum() for token in term)


def _average(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    """sum(whole numbers) / ...: cut off on SQLite, with fractions on PostgreSQL."""
    inner, function = at(parts, n - 2), at(parts, n - 4)
    if function.low == "sum" and column_kind(inner, columns) == "int":
        yield Hit("integer-average", function.offset, shown(parts[n - 4 : n + 2]))


def _called(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    word = parts[n].low
    inner = parts[n + 2 : closing(parts, n + 1)]
    about = shown(parts[n : closing(parts, n + 1) + 1])
    if word in ("sum", "avg", "total", "abs") and kind_of(inner, columns) in ("text", "time"):
        yield Hit("text-number", parts[n].offset, about)
    elif word in ("sum", "avg", "min", "max", "total", "abs"):
        lone = column_kind(inner[-1], columns) if len(inner) in (1, 3) else ""
        compared = word == "sum" and any(t.text in COMPARISONS for t in inner)
        if lone == "bool" or (compared and not any(t.low in ("case", "select") for t in inner)):
            yield Hit("boolean-arithmetic", parts[n].offset, about)
    elif word in ("coalesce", "nullif", "ifnull"):
        given = arguments(parts, n + 1)
        kinds = [kind_of(item, columns) for item in given]
        if word == "nullif" and kinds[0] in NUMBERS and kinds[1:] == ["literal"]:  # never equal on SQLite
            yield Hit("text-number", parts[n].offset, about)
        elif any(column_kind(item[-1], columns) == "bool" for item in given if item):
            for item in given:
                if len(item) == 1 and item[0].kind == "number":
                    yield as_boolean(item[0], about)
        else:
            yield from together(given, columns, about)
    elif word in ("lag", "lead"):
        yield from together(arguments(parts, n + 1)[::2], columns, about)


def _case(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    """CASE flag WHEN 1 THEN, and what CASE gives."""
    yield from together(results(parts[n:]), columns, "CASE of a text and a number")
    if column_kind(at(parts, n + 1), columns) != "bool":
        return
    for m in range(n, len(parts)):
        if parts[m].low == "end":
            return
        if parts[m].low == "when" and at(parts, m + 1).text in ("0", "1"):
            yield as_boolean(parts[m + 1], shown(parts[n : m + 2]))


def _condition(parts: Parts, n: int, columns: Columns) -> Iterator[Hit]:
    """A number or a text where PostgreSQL wants a condition: WHERE qty, AND 1, NOT qty."""
    word = parts[n]
    if (word.low == "and" and _of_between(parts, n)) or (word.low == "not" and at(parts, n - 1).low == "is"):
        return
    if word.low == "when" and at(parts, n - 1).low != "case" and not _searched(parts, n):
        return
    if word.low in ("on", "not") and at(parts, n + 1).low in ("conflict", "update", "delete", "null"):
        return
    operand = right_of(parts, n)
    after = at(parts, n + 1 + len(operand))
    if after.text in COMPARISONS or after.low in _AFTER_OPERAND:
        return
    if operand and kind_of(operand, columns) in (*NUMBERS, "text", "literal"):
        yield Hit("number-as-condition", operand[0].offset, shown([word, *operand]))


def _of_between(parts: Parts, n: int) -> bool:
    low = left_of(parts, n)
    return at(parts, n - len(low) - 1).low == "between"


def _searched(parts: Parts, n: int) -> bool:
    """Whether the WHEN at `n` belongs to a CASE without an operand."""
    depth = 0
    for m in range(n - 1, -1, -1):
        depth += {"end": 1, ")": 1, "(": -1}.get(parts[m].low, 0)
        if parts[m].low == "case":
            if depth == 0:
                return at(parts, m + 1).low == "when"
            depth -= 1
    return False


def _large(parts: Parts) -> Iterator[Hit]:
    """Whole numbers that are calculated with in 32 bits on PostgreSQL, beyond which it refuses."""
    n = 0
    while n < len(parts):
        end = n + 1
        while at(parts, end).text in ("+", "-", "*") and at(parts, end + 1).text.isdecimal():
            end += 2
        if parts[n].text.isdecimal() and end > n + 1:
            numbers = [int(token.text) for token in parts[n:end:2]]
            total = numbers[0]
            for operator, number in zip(parts[n + 1 : end : 2], numbers[1:], strict=True):
                total = {"+": total + number, "-": total - number, "*": total * number}[operator.text]
            if max(numbers) <= _LIMIT < abs(total) or abs(total) >= 2**63:
                yield Hit("integer-overflow", parts[n].offset, shown(parts[n:end]))
        n = end
