"""What kind of value an expression gives, as far as tokens and columns tell, and which kinds do not go together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from migration.lint.columns import Column, Columns
from migration.lint.sql.tokens import COMPARISONS, Hit, Parts, Token, arguments, at, closing, opening, outside

NUMBERS = frozenset(("int", "float", "numeric"))
TIMES = frozenset(("time", "date"))
ARITHMETIC = frozenset(("+", "-", "*", "/", "%", "&", "|"))
_TIME = re.compile(r"'\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{6})?)?'")
_WHOLE = re.compile(r"\s*[-+]?\d+\s*")
FRACTION = re.compile(r"\s*[-+]?\d+(\.\d*)?\s*")
NOW = frozenset(("current_timestamp", "current_date", "current_time"))
_TESTS = frozenset(("in", "like", "between", "is", "glob", "exists", "isnull", "notnull", "not"))
_BY_FUNCTION = {
    **dict.fromkeys(("count", "length", "instr"), "int"),
    **dict.fromkeys(("lower", "upper", "trim", "ltrim", "rtrim", "replace", "substr", "substring"), "text"),
    **dict.fromkeys(("group_concat", "printf", "hex"), "text"),
    "exists": "bool",
}
_AS_ARGUMENT = frozenset(("sum", "min", "max", "abs", "nullif"))
_BY_TYPE = {
    **dict.fromkeys(("integer", "int", "bigint", "smallint"), "int"),
    **dict.fromkeys(("text", "varchar", "char"), "text"),
    **dict.fromkeys(("double", "float", "real"), "float"),
}
# Words and marks that end the operand on either side of an operator that compares or calculates.
_EDGES = frozenset(
    (
        *("select", "from", "where", "and", "or", "not", "on", "having", "when", "then", "else", "case"),
        *("end", "set", "values", "by", "group", "order", "limit", "offset", "union", "except", "intersect"),
        *("all", "returning", "as", "is", "in", "like", "glob", "escape", "asc", "desc", "nulls", "distinct"),
        *("join", "left", "inner", "cross", "using", "between", "default", "over", "filter", "conflict"),
        *("collate", "window", "into", "update", "do", ",", ";"),
    )
)


def kind_of(expression: Parts, columns: Columns) -> str:
    """A word of the table of columns, or `literal` for a text in quotes, `null`, or nothing where it is unknown.

    `numeric` also stands for a number that is written with a fraction: a Decimal on PostgreSQL.
    """
    parts = list(expression)
    while len(parts) > 1 and parts[0].text == "(" and closing(parts, 0) == len(parts) - 1:
        parts = parts[1:-1]
    if not parts or parts[0].low in ("select", "values"):
        return ""
    top = [token for _, token in outside(parts)]
    if parts[0].low == "case":
        return _one([kind_of(item, columns) for item in results(parts)])
    words = {token.low for token in top}
    if words & {"and", "or"} or words & _TESTS or {token.text for token in top} & COMPARISONS:
        return "bool"
    if "||" in words:
        return "text"
    if any(t.text in ARITHMETIC for t in top[1:]):
        return _calculated([kind_of(item, columns) for item in _terms(parts)])
    if parts[0].text in ("+", "-", "~"):
        return kind_of(parts[1:], columns)
    return _single(parts, columns)


def _single(parts: list[Token], columns: Columns) -> str:
    first = parts[0]
    if len(parts) == 1:
        return _token(first, columns)
    if len(parts) == 3 and parts[1].text == "." and parts[2].is_name:
        return column_kind(parts[2], columns)
    if first.kind == "word" and parts[1].text == "(" and closing(parts, 1) == len(parts) - 1:
        return _called(first.low, parts, columns)
    return ""


def _token(token: Token, columns: Columns) -> str:
    if token.kind == "number":
        return "int" if token.text.isdecimal() or token.low.startswith("0x") else "numeric"
    if token.kind == "text":
        return "literal"
    if token.low in ("true", "false"):
        return "bool"
    if token.low == "null":
        return "null"
    return column_kind(token, columns)


def column_kind(token: Token, columns: Columns) -> str:
    """The kind of the column that a token names. Empty if it names none."""
    return columns.get(token.name, Column()).kind if token.is_name else ""


def _called(word: str, parts: list[Token], columns: Columns) -> str:
    given = arguments(parts, 1)
    if word == "cast":
        target = next((at(parts, n + 1).low for n, t in enumerate(parts) if t.low == "as"), "")
        return _BY_TYPE.get(target, "")
    if word in ("coalesce", "ifnull"):
        return _one([kind_of(item, columns) for item in given])
    if word in _AS_ARGUMENT and (len(given) == 1 or word == "nullif"):
        return kind_of(given[0], columns)
    return _BY_FUNCTION.get(word, "")


def _one(kinds: list[str]) -> str:
    """The kind that several values have in common."""
    known = {kind for kind in kinds if kind != "null"}
    return known.pop() if len(known) == 1 else ""


def _calculated(kinds: list[str]) -> str:
    if not set(kinds) <= NUMBERS:
        return ""
    return next((kind for kind in ("float", "numeric") if kind in kinds), "int")


def _terms(parts: list[Token]) -> Iterator[list[Token]]:
    """The operands of + - * / % at the top."""
    found: list[Token] = []
    depth = 0
    for token in parts:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and token.text in ARITHMETIC and found:
            yield found
            found = []
        elif token.text not in ("+", "-") or found:
            found.append(token)
    yield found


def results(parts: Parts) -> list[list[Token]]:
    """What CASE ... END gives: the expressions after THEN and ELSE."""
    found: list[list[Token]] = []
    deep, into = 0, False
    for n, token in enumerate(parts):
        deep += {"(": 1, ")": -1, "case": 1, "end": -1}.get(token.low, 0)
        if deep == 1 and token.low in ("then", "else"):
            found.append([])
            into = True
        elif deep == 0 or (deep == 1 and token.low in ("when", "case")):
            into = False
            if deep == 0 and n:
                break
        elif into:
            found[-1].append(token)
    return found


def left_of(parts: Parts, n: int, *, tight: bool = False) -> list[Token]:
    """The operand before the operator at `n`. `tight` ends it at + - * / too."""
    m = n
    while m > 0:
        if parts[m - 1].text == ")":
            m = opening(parts, m - 1)
        elif parts[m - 1].low == "end":
            m = _start_of_case(parts, m - 1)
        elif _is_edge(parts[m - 1], tight):
            break
        else:
            m -= 1
    return list(parts[max(0, m) : n])


def right_of(parts: Parts, n: int, *, tight: bool = False) -> list[Token]:
    """The operand after the operator at `n`."""
    m = n + 2 if at(parts, n + 1).text in ("-", "+") else n + 1
    while m < len(parts):
        if parts[m].text == "(":
            m = closing(parts, m) + 1
        elif parts[m].low == "case":
            m = end_of_case(parts, m) + 1
        elif _is_edge(parts[m], tight):
            break
        else:
            m += 1
    return list(parts[n + 1 : m])


def end_of_case(parts: Parts, n: int) -> int:
    """The place of the END that closes the CASE at `n`."""
    depth = 0
    for m in range(n, len(parts)):
        depth += {"case": 1, "end": -1}.get(parts[m].low, 0)
        if depth == 0:
            return m
    return len(parts)


def _start_of_case(parts: Parts, n: int) -> int:
    depth = 0
    for m in range(n, -1, -1):
        depth += {"end": 1, "case": -1}.get(parts[m].low, 0)
        if depth == 0:
            return m
    return 0


def _is_edge(token: Token, tight: bool) -> bool:
    if token.kind in ("text", "quoted"):
        return False
    ends = token.low in _EDGES or token.text in COMPARISONS or token.text in ("(", ")")
    return ends or (tight and (token.text in ARITHMETIC or token.text == "||"))


def as_boolean(token: Token, about: str) -> Hit:
    """A number in the place of a Boolean. 0 and 1 have a meaning that can be written instead."""
    instead = {"0": "false", "1": "true"}.get(token.text)
    return Hit("boolean-number", token.offset, about, len(token.text), instead)


def has_fraction(number: Token) -> bool:
    return "." in number.text and float(number.text) % 1 != 0


def against_text(kind: str, right: Token, about: str, *, by_day: bool = True) -> Iterator[Hit]:
    """A text in the place of a value of another kind.

    Args:
        by_day: a text that names a day alone means something else than that day's first moment.
    """
    value = right.text[1:-1]
    if kind == "bool" and value not in ("0", "1"):
        yield Hit("boolean-text", right.offset, about)
    elif kind in NUMBERS and not (_WHOLE if kind == "int" else FRACTION).fullmatch(value):
        yield Hit("text-number", right.offset, about)
    elif kind == "time":
        found = _TIME.fullmatch(right.text)
        if not found or (by_day and not found[1]):
            yield Hit("time-literal", right.offset, about)


def tells_days_apart(parts: Parts, n: int) -> bool:
    """Whether the operator at `n` tells the text of a day from the time at which that day begins."""
    return assigns(parts, n) or parts[n].low in ("=", "==", "<=", ">", "<>", "!=", "in", "and")


def assigns(parts: Parts, n: int) -> bool:
    """Whether a `=` belongs to SET or to a list of defaults and not to a condition."""
    for token in reversed(parts[:n]):
        if token.low in ("where", "on", "having", "when", "and", "or", "check", "select"):
            return False
        if token.low == "set":
            return True
    return False


def mixed(kinds: tuple[str, ...], first: Token, about: str) -> Iterator[Hit]:
    """Values of kinds that SQLite takes together and PostgreSQL does not."""
    found = set(kinds)
    if "bool" in found and found & NUMBERS:
        yield Hit("boolean-number", first.offset, about)
    elif found & NUMBERS and "text" in found:
        yield Hit("text-number", first.offset, about)


def stored(kind: str, given: str, value: Parts, about: str) -> Iterator[Hit]:
    """What a column of one kind is given: by SET, or by INSERT.

    Args:
        kind: the column's.
        given: the kind of the value.
        value: its tokens.
    """
    if not value:
        return
    offset = value[0].offset
    if {kind, given} <= {"bool", *NUMBERS} and "bool" in (kind, given) and kind != given:
        yield Hit("boolean-number", offset, about)
    elif kind == "int" and given in ("float", "numeric"):
        yield Hit("inexact-integer", offset, about)
    elif kind in TIMES and given in NUMBERS:
        yield Hit("date-arithmetic", offset, about)
    elif kind in TIMES and (value[0].low in NOW or value[0].low in ("date", "time", "datetime")):
        yield Hit("date-value", offset, about)


def together(items: Sequence[Parts], columns: Columns, about: str) -> Iterator[Hit]:
    """Values that have to be of one kind: those of COALESCE, CASE, UNION."""
    given = [item for item in items if item]
    kinds = [kind_of(item, columns) for item in given]
    known = next((kind for kind in kinds if kind not in ("", "null", "literal")), "")
    for item, kind in zip(given, kinds, strict=True):
        if kind == "literal" and len(item) == 1 and known in (*NUMBERS, "time"):
            yield from against_text(known, item[0], about)
        elif known and kind not in ("", "null", "literal"):
            yield from mixed((known, kind), item[0], about)
