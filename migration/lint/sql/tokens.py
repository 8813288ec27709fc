"""SQL texts as tokens, and the lists and clauses that tokens form. What is in a literal is one token."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<blob>[xX]'[0-9a-fA-F]*')|(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*")|(?P<tick>`[^`]*`)|(?P<bracket>\[[^\]\[]*\])
    |(?P<number>0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<parameter>%\(\w+\)s|%s|(?<!:):[A-Za-z_]\w*|\?\d*)|(?P<word>[^\W\d]\w*)
    |(?P<mark>->>|->|<>|!=|<=|>=|==|\|\||::|[^\s])""",
    re.X | re.S,
)
AGGREGATES = frozenset(
    (
        *("count", "sum", "avg", "min", "max", "total", "every", "bool_and", "bool_or"),
        *("group_concat", "string_agg", "array_agg", "json_agg"),
    )
)
COMPARISONS = frozenset(("=", "==", "<>", "!=", "<", ">", "<=", ">="))
# Words that stand in expressions and name no column.
WORDS = frozenset(
    (
        *(
            "null",
            "true",
            "false",
            "default",
            "case",
            "when",
            "then",
            "else",
            "end",
            "and",
            "or",
            "not",
            "is",
        ),
        *("as", "text", "integer", "double", "precision", "current_timestamp", "select", "from", "in"),
    )
)
# Words that end a list of expressions.
_ENDS = frozenset(
    (
        *("from", "where", "having", "order", "limit", "group", "offset"),
        *("union", "except", "intersect", "returning", "window", "on", ";"),
    )
)
# Words that name no column beside the expression before them, and words that an expression goes on after.
_NO_ALIAS = frozenset(("null", "true", "false", "end", "isnull", "notnull", "precision", "current_timestamp"))
_NEEDS = frozenset(
    (
        *(
            "not",
            "and",
            "or",
            "is",
            "in",
            "like",
            "glob",
            "between",
            "case",
            "when",
            "then",
            "else",
            "collate",
        ),
        *("over", "distinct", "all", "from", "interval", "escape", "select", "as", "exists"),
    )
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

    @property
    def is_name(self) -> bool:
        return self.kind in ("word", "quoted")


@dataclass(frozen=True)
class Hit:
    """A hazard in a text: the rule, where it is, what it is about, and a replacement if that is mechanical."""

    rule: str
    offset: int
    about: str
    length: int = 0
    replacement: str | None = None


Parts = Sequence[Token]
END = Token("mark", "", 0)


def tokens(sql: str) -> list[Token]:
    """The tokens of a text, comments left out."""
    found = (Token(m.lastgroup or "", m.group(), m.start()) for m in _TOKEN.finditer(sql))
    return [token for token in found if token.kind != "comment"]


def at(parts: Parts, n: int) -> Token:
    """The token at a place, an empty mark beyond both ends."""
    return parts[n] if 0 <= n < len(parts) else END


def shown(parts: Parts) -> str:
    """Tokens as a finding names them."""
    return " ".join(token.text for token in parts)


def shape(item: Parts) -> str:
    """An expression without regard to spaces, case and quotes."""
    return "".join(token.name for token in item)


def declares(parts: Parts) -> bool:
    """Whether a statement makes or changes a table."""
    return at(parts, 0).low in ("create", "alter")


def closing(parts: Parts, opening: int) -> int:
    """The place of the parenthesis that closes the one at `opening`."""
    depth = 0
    for n in range(opening, len(parts)):
        depth += {"(": 1, ")": -1}.get(parts[n].text, 0)
        if depth == 0:
            return n
    return len(parts)


def opening(parts: Parts, n: int) -> int:
    """The place of the parenthesis that holds the token at `n`. -1 if there is none."""
    depth = 0
    for m in range(n - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(parts[m].text, 0)
        if depth < 0:
            return m
    return -1


def arguments(parts: Parts, opened: int) -> list[list[Token]]:
    """What stands in parentheses, split at the commas."""
    return split(parts[opened + 1 : closing(parts, opened)])


def split(parts: Parts) -> list[list[Token]]:
    """A list, split at the commas that are not in parentheses."""
    items: list[list[Token]] = [[]]
    depth = 0
    for token in parts:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if token.text == "," and depth == 0:
            items.append([])
        else:
            items[-1].append(token)
    return items


def end_of_list(parts: Parts, n: int) -> int:
    """Where the list that starts at `n` ends."""
    depth = 0
    for m in range(n, len(parts)):
        if depth == 0 and (parts[m].low in _ENDS or parts[m].text == ")"):
            return m
        depth += {"(": 1, ")": -1}.get(parts[m].text, 0)
    return len(parts)


def outside(parts: Parts) -> Iterator[tuple[int, Token]]:
    """The tokens that are not in parentheses, with their places."""
    depth = 0
    for n, token in enumerate(parts):
        if token.text == ")":
            depth -= 1
        if depth == 0:
            yield n, token
        if token.text == "(":
            depth += 1


def without_alias(item: Parts) -> tuple[list[Token], str]:
    """A selected expression and the name that AS gives it."""
    words = [token.low for token in item]
    if words and words[0] == "distinct":
        item, words = item[1:], words[1:]
    if len(item) > 2 and words[-2] == "as":
        return list(item[:-2]), item[-1].name
    if len(item) > 1 and item[-1].is_name and not {words[-1], words[-2]} & _NO_ALIAS | _NEEDS & {words[-2]}:
        before = item[-2]
        if before.is_name or before.kind in ("number", "text") or before.text == ")":
            return list(item[:-1]), item[-1].name
    return list(item), ""


def without_direction(item: Parts) -> list[Token]:
    """A sort expression without ASC, DESC and NULLS ..."""
    found = list(item)
    if len(found) > 2 and found[-2].low == "nulls":
        found = found[:-2]
    if found and found[-1].low in ("asc", "desc"):
        found = found[:-1]
    return found


def aggregates(expression: Parts) -> bool:
    """Whether an expression calls an aggregate. Those in a window or in a subquery do not count."""
    n = 0
    while n < len(expression):
        token = expression[n]
        if token.text == "(" and at(expression, n + 1).low == "select":
            n = closing(expression, n)
        elif (
            token.kind == "word"
            and token.low in AGGREGATES
            and at(expression, n + 1).text == "("
            and len(arguments(expression, n + 1)) == 1
            and at(expression, closing(expression, n + 1) + 1).low != "over"
        ):
            return True
        n += 1
    return False


@dataclass
class Select:
    """One SELECT: its clauses by their first word, each with the tokens that follow that word."""

    start: int
    clauses: dict[str, list[Token]] = field(default_factory=dict)
    distinct: bool = False

    def items(self) -> list[list[Token]]:
        """The selected expressions."""
        return split(self.clauses.get("select", ()))

    def sorted_by(self) -> list[list[Token]]:
        """The expressions of ORDER BY."""
        order = self.clauses.get("order")
        return split(order[1:]) if order else []

    def grouped_by(self) -> list[list[Token]]:
        """The expressions of GROUP BY."""
        group = self.clauses.get("group")
        return split(group[1:]) if group else []


_CLAUSES = ("from", "where", "group", "having", "window", "order", "limit", "offset")


def selects(parts: Parts) -> list[Select]:
    """Every SELECT of a text, inner ones too."""
    found = []
    for n, token in enumerate(parts):
        if token.kind == "word" and token.low == "select":
            found.append(_select(parts, n))
    return found


def _select(parts: Parts, start: int) -> Select:
    select = Select(start, {"select": []})
    clause = "select"
    depth = 0
    for token in parts[start + 1 :]:
        if depth == 0 and (token.text in (")", ";") or token.low in ("union", "except", "intersect")):
            break
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and token.kind == "word" and token.low in _CLAUSES:
            clause = token.low
            select.clauses[clause] = []
        else:
            select.clauses[clause].append(token)
    if select.clauses["select"] and select.clauses["select"][0].low == "distinct":
        select.distinct = True
        select.clauses["select"] = select.clauses["select"][1:]
    return select
