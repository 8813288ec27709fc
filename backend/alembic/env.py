"""What Alembic's command line executes; `run_environment` says which database it is about."""

from __future__ import annotations

import app.models  # noqa: F401 - fills Base.metadata
from app.db.base import Base
from app.db.revisions.chain import run_environment

run_environment(Base.metadata)
