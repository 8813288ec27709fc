"""Fixtures of the core tests: pairs at each stage, backends on them, servers and processes that may die."""

from tests.core.outage.through_proxy import proxy, through  # noqa: F401 - fixtures
from tests.core.switch.gated import module_pair, ready, to  # noqa: F401 - fixtures
from tests.support.backends import backend  # noqa: F401 - a fixture
from tests.support.dying.perishable import mortal, victim  # noqa: F401 - fixtures
from tests.support.fixtures import (  # noqa: F401 - fixtures
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
