"""An env.py of its own, beside an alembic.ini that names a database."""  # expect: chain-environment, chain-url

from alembic import context
from sqlalchemy import engine_from_config

connectable = engine_from_config(context.config.get_section("alembic"))  # expect: engine-outside-seam
