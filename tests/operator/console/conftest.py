"""The pairs of the command line's tests, for the console."""

from tests.operator.cli.conftest import at_stage, cli, stages

__all__ = ["at_stage", "cli", "stages"]
