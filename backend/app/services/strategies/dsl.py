"""Parses alert expressions such as `RSI(14, 1d) > 70 AND NOT PRICE(1d) CROSS_BELOW SMA(50)`.

OR binds loosest, then AND, then NOT, then one comparison. Keywords are read in any case, and a character
that belongs to no token is skipped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final, Literal

from app.services.strategies.errors import IndicatorAlertError
from app.services.strategies.expression import (
    Comparison,
    ExpressionNode,
    FieldRef,
    Indicator,
    Logical,
    Not,
    Number,
)

MAX_DEPTH: Final = 50
DEFAULT_TIMEFRAME: Final = "1d"
TIMEFRAMES: Final = frozenset({"1m", "5m", "15m", "30m", "1h", "1d", "1mo", "1y"})
FIELD_ALIASES: Final = {"DRAWDOWN_FROM_PEAK_PCT": "DRAWDOWN_PCT"}
FIELDS: Final = frozenset(
    {"INVESTED", "PNL_PCT", "TODAY_PNL_PCT", "MAX_PNL_PCT", "DRAWDOWN_PCT", "QTY"}
    | {"AVG_PRICE", "CURRENT_VALUE"}
)
INDICATOR_ALIASES: Final = {"SMA": "MA", "MOMENTUM": "PERF_PCT"}
INDICATORS: Final = frozenset(
    {"PRICE", "RSI", "MA", "MA_CROSS", "VOLATILITY", "ATR", "PERF_PCT", "VOLUME_RATIO", "VWAP"}
    | {"PVT", "PVT_SLOPE"}
)
OPERATORS: Final = {
    ">": "GT", ">=": "GTE", "<": "LT", "<=": "LTE", "==": "EQ", "!=": "NEQ",
    "CROSS_ABOVE": "CROSS_ABOVE", "CROSSES_ABOVE": "CROSS_ABOVE",
    "CROSS_BELOW": "CROSS_BELOW", "CROSSES_BELOW": "CROSS_BELOW",
}  # fmt: skip
_TOKEN = re.compile(r"\d+[A-Za-z]+|[+-]?\d+(?:\.\d+)?|[A-Za-z_]\w*|>=|<=|==|!=|[<>(),]", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def parse_expression(text: str) -> ExpressionNode:
    """The tree of an expression; IndicatorAlertError with a reason for its author when it has none."""
    return _Parser(_TOKEN.findall(text)).whole()


class _Parser:
    """Recursive descent over the tokens, with a bound on the nesting."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    def whole(self) -> ExpressionNode:
        node = self._any_of()
        if (token := self._peek()) is not None:
            raise IndicatorAlertError(f"Unexpected token '{token}' at end of expression")
        return node

    def _peek(self) -> str | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _next(self) -> str:
        token = self._peek()
        if token is None:
            raise IndicatorAlertError("Unexpected end of expression")
        self._position += 1
        return token

    def _accept(self, word: str) -> bool:
        token = self._peek()
        if token is None or token.upper() != word:
            return False
        self._position += 1
        return True

    def _expect(self, word: str) -> None:
        token = self._next()
        if token != word:
            raise IndicatorAlertError(f"Unexpected token '{token}'; expected '{word}'")

    def _chain(self, word: Literal["AND", "OR"], part: Callable[[], ExpressionNode]) -> ExpressionNode:
        children = [part()]
        while self._accept(word):
            children.append(part())
        return children[0] if len(children) == 1 else Logical(word, tuple(children))

    def _any_of(self) -> ExpressionNode:
        return self._chain("OR", self._all_of)

    def _all_of(self) -> ExpressionNode:
        return self._chain("AND", self._negation)

    def _negation(self) -> ExpressionNode:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise IndicatorAlertError("Expression is nested too deeply")
        node = Not(self._negation()) if self._accept("NOT") else self._comparison()
        self._depth -= 1
        return node

    def _comparison(self) -> ExpressionNode:
        left = self._primary()
        operator = OPERATORS.get((self._peek() or "").upper())
        if operator is None:
            return left
        self._next()
        return Comparison(operator, left, self._primary())

    def _primary(self) -> ExpressionNode:
        token = self._next()
        if token == "(":
            node = self._any_of()
            self._expect(")")
            return node
        if _NUMBER.fullmatch(token):
            return Number(_number(token))
        if not _NAME.fullmatch(token):
            raise IndicatorAlertError(f"Unexpected token '{token}'")
        if self._accept("("):
            return self._indicator(token)
        name = token.upper()
        name = FIELD_ALIASES.get(name, name)
        if name not in FIELDS:
            raise IndicatorAlertError(f"Unknown field '{token}'")
        return FieldRef(name)

    def _indicator(self, token: str) -> Indicator:
        kind = INDICATOR_ALIASES.get(token.upper(), token.upper())
        if kind not in INDICATORS:
            raise IndicatorAlertError(f"Unknown indicator '{token}'")
        arguments = self._arguments()
        if arguments and arguments[0].lower() == "close":
            arguments = arguments[1:]
        period = None
        if arguments and _NUMBER.fullmatch(arguments[0]):
            period = int(_number(arguments[0]))
            arguments = arguments[1:]
        if len(arguments) > 1:
            raise IndicatorAlertError("Too many arguments; expected (period), (tf), or (period, tf)")
        timeframe = arguments[0].lower() if arguments else DEFAULT_TIMEFRAME
        if timeframe not in TIMEFRAMES:
            raise IndicatorAlertError(f"Unsupported timeframe '{arguments[0]}'")
        return Indicator(kind, timeframe, period)

    def _arguments(self) -> list[str]:
        arguments: list[str] = []
        while not self._accept(")"):
            token = self._next()
            if token != ",":
                arguments.append(token)
        return arguments


def _number(token: str) -> float:
    value = float(token)
    if not math.isfinite(value):
        raise IndicatorAlertError("Number is too large")
    return value
