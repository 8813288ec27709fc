"""An env.py that knows nothing of the second database."""

from alembic import context

with context.begin_transaction():
    context.run_migrations()
