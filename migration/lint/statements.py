"""Hazards in what Python hands to SQL: the order of rows of a query, and the values of raw statements."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from migration.lint.columns import Column, Columns, Names
from migration.lint.source import Source, Spot, called, terminal
from migration.lint.sql.tokens import arguments, at, closing, tokens

_RAW = frozenset(("execute", "executemany", "exec_driver_sql", "scalar", "scalars"))
_CUT = frozenset(("first", "limit", "slice"))
NO_PLACES: tuple[int, ...] = ()
_DIRECTIONS = frozenset(("desc", "asc"))


def check(source: Source, names: Names) -> Iterator[Spot]:
    """Every hazard of this kind."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        name, _ = called(node)
        if name == "order_by":
            yield from _nulls(node, names)
        elif name in _CUT and isinstance(node.func, ast.Attribute):
            yield from _ties(node, names)
        if name in _RAW and node.args:
            yield from _values(source, node, names)


def _sorted(expression: ast.expr, names: Names) -> tuple[str, Column, bool]:
    """A sort expression: the column it is, what is known of it, and whether it says where NULL goes."""
    placed = False
    while isinstance(expression, ast.Call):
        name, _ = called(expression)
        placed = placed or name in ("nulls_first", "nulls_last", "nullsfirst", "nullslast")
        if name in (*_DIRECTIONS, "nulls_first", "nulls_last", "nullsfirst", "nullslast"):
            expression = (
                expression.func.value
                if isinstance(expression.func, ast.Attribute) and not expression.args
                else expression.args[0]
            )
        else:
            return "", Column(), True
    match expression:
        case ast.Attribute(value=ast.Name(id=model), attr=attribute):
            return attribute, names.of_model(model).get(attribute, Column()), placed
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id=table), attr="c"), attr=attribute):
            return attribute, names.tables.get(table, {}).get(attribute, Column()), placed
    return "", Column(), True


def _nulls(order: ast.Call, names: Names) -> Iterator[Spot]:
    tested = {ast.unparse(a) for a in order.args}
    for argument in order.args:
        _, column, placed = _sorted(argument, names)
        if column.nullable and not placed:
            plain = ast.unparse(argument).removesuffix(".desc()").removesuffix(".asc()")
            if not any(f"{plain}.is_(None)" in item or f"{plain}.is_not(None)" in item for item in tested):
                yield Spot("nulls-order", argument, ast.unparse(argument))


def _ties(cut: ast.Call, names: Names) -> Iterator[Spot]:
    """first() and limit() after an order_by() that names no unique column."""
    assert isinstance(cut.func, ast.Attribute)
    inner: ast.expr = cut.func.value
    order = None
    while isinstance(inner, (ast.Call, ast.Attribute)):
        if isinstance(inner, ast.Call):
            if called(inner)[0] == "order_by":
                order = inner
            if called(inner)[0] in _CUT or (called(inner)[0] == "scalars" and inner.args):
                return
            inner = inner.func
        else:
            inner = inner.value
    if order is None or not order.args:
        return
    found = [_sorted(argument, names) for argument in order.args]
    known = [column for name, column, _ in found if column.kind]
    if len(known) == len(found) and not any(column.unique or name == "id" for name, column, _ in found):
        sort = ", ".join(map(ast.unparse, order.args))
        yield Spot("tie-break", order.args[0], f"order_by({sort}) before {terminal(cut.func)}()")


def _values(source: Source, call: ast.Call, names: Names) -> Iterator[Spot]:
    """0 and 1 given to a Boolean column of raw SQL, where no type converts them."""
    sql = source.sql(call)
    booleans, places = names.booleans(), NO_PLACES
    if sql is not None:
        booleans, places = _parameters(sql.text, names)
    elif not (terminal(call.args[0]) == "text" or isinstance(call.args[0], (ast.Constant, ast.JoinedStr))):
        return
    given: list[ast.expr] = [source.resolved(a) for a in call.args[1:2]]
    given += [source.resolved(k.value) for k in call.keywords if k.arg in ("params", "parameters")]
    for inner in (node for item in given for node in ast.walk(item)):
        if isinstance(inner, ast.Dict):
            for key, value in zip(inner.keys, inner.values, strict=True):
                name = getattr(key, "value", None)
                if isinstance(name, str) and name.lower() in booleans:
                    yield from _numbers(name, value)
        elif isinstance(inner, ast.Tuple):
            for place in places:
                if place < len(inner.elts):
                    yield from _numbers(f"value {place + 1}", inner.elts[place])
    for node in ast.walk(call.args[0]):
        if isinstance(node, ast.Call) and called(node)[0] == "bindparams":
            for keyword in node.keywords:
                if keyword.arg and keyword.arg.lower() in booleans:
                    yield from _numbers(keyword.arg, keyword.value)


def _numbers(name: str, value: ast.expr) -> Iterator[Spot]:
    candidates = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
    for item in candidates:
        if isinstance(item, ast.Constant) and type(item.value) is int and item.value in (0, 1):
            yield Spot("boolean-number", item, f"{name}: {item.value!r}", item, str(bool(item.value)))


def _parameters(sql: str, names: Names) -> tuple[frozenset[str], tuple[int, ...]]:
    """The parameters of a statement that stand for Boolean columns: by name, and by place."""
    parts = tokens(sql)
    columns: Columns = names.among(token.name for token in parts if token.is_name)
    holds: dict[int, bool] = {}  # the offset of a parameter -> whether its column is Boolean

    def boolean(name: str) -> bool:
        return columns.get(name, Column()).kind == "bool"

    for n, token in enumerate(parts):
        if token.kind == "parameter" and at(parts, n - 1).text in ("=", "<>", "!="):
            holds[token.offset] = boolean(at(parts, n - 2).name)
        elif token.low == "into" and at(parts, n + 2).text == "(":
            fields = [item[-1].name for item in arguments(parts, n + 2) if item]
            values = closing(parts, n + 2) + 2
            while at(parts, values).text == "(":
                for field, item in zip(fields, arguments(parts, values), strict=False):
                    if len(item) == 1:
                        holds[item[0].offset] = boolean(field)
                values = closing(parts, values) + 2
    marks = [token for token in parts if token.kind == "parameter"]
    named = {t.low.strip(":%()") for t in marks if holds.get(t.offset) and t.text not in ("?", "%s")}
    named = {name.removesuffix(")s") for name in named}
    places = tuple(n for n, t in enumerate(marks) if holds.get(t.offset) and t.text in ("?", "%s"))
    return frozenset(named), places
