"""The tree behind an alert expression, and its stored JSON form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class FieldRef:
    """A figure of the position, for example PNL_PCT."""

    name: str


@dataclass(frozen=True)
class Indicator:
    """An indicator over bars of a timeframe; `period` in bars, None for its default."""

    kind: str
    timeframe: str
    period: int | None


@dataclass(frozen=True)
class Comparison:
    """Two operands and an operator such as GT or CROSS_ABOVE."""

    operator: str
    left: ExpressionNode
    right: ExpressionNode


@dataclass(frozen=True)
class Logical:
    """A chain of conditions of which all (AND) or one (OR) must hold."""

    op: Literal["AND", "OR"]
    children: tuple[ExpressionNode, ...]


@dataclass(frozen=True)
class Not:
    """The opposite of a condition."""

    child: ExpressionNode


ExpressionNode = Number | FieldRef | Indicator | Comparison | Logical | Not


def expression_to_dict(expr: ExpressionNode) -> dict[str, Any]:
    """The JSON form of a condition; ValueError when an operand stands where a condition is needed."""
    match expr:
        case Comparison():
            return {
                "type": "COMPARISON",
                "operator": expr.operator,
                "left": _operand(expr.left),
                "right": _operand(expr.right),
            }
        case Logical():
            children = [expression_to_dict(child) for child in expr.children]
            return {"type": "LOGICAL", "op": expr.op, "children": children}
        case Not():
            return {"type": "NOT", "child": expression_to_dict(expr.child)}
        case _:
            raise ValueError("an operand alone is not a condition; compare it with something")


def _operand(expr: ExpressionNode) -> dict[str, Any]:
    match expr:
        case Number():
            return {"type": "NUMBER", "value": expr.value}
        case FieldRef():
            return {"type": "FIELD", "name": expr.name}
        case Indicator():
            params = {} if expr.period is None else {"period": expr.period}
            spec = {"kind": expr.kind, "timeframe": expr.timeframe, "params": params}
            return {"type": "INDICATOR", "spec": spec}
        case _:
            raise ValueError("a condition cannot be compared with something")
