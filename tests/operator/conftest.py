"""One set of prepared pairs for all tests that give commands: a session makes each stage once."""

from tests.operator.sides import at_stage, cli, stages

__all__ = ["at_stage", "cli", "stages"]
