"""Fixtures of the core tests; see tests/support/fixtures.py."""

from tests.support.fixtures import (  # noqa: F401
    clone,
    copying,
    fresh,
    pair,
    primary,
    promoted,
    replicating,
    templates,
    zygote,
)
from tests.support.perishable import mortal, victim  # noqa: F401 - fixtures
