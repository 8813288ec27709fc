"""Commands are given here as an operator gives them."""

from tests.operator.sides import cli

__all__ = ["cli"]
