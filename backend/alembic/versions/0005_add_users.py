"""Users, and the first administrator, whose password is to be changed at once."""

from __future__ import annotations

import base64
import hashlib
import secrets

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ITERATIONS = 260_000


def hash_password(password: str) -> str:
    """The stored form `algorithm$iterations$salt$digest` of a password, with a fresh salt."""
    salt = secrets.token_bytes(16)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    encoded = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (salt, digest))
    return "$".join(["pbkdf2_sha256", str(ITERATIONS), *encoded])


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("password_hash", sa.String(256), nullable=False),
        sa.Column("role", sa.String(16), nullable=False, server_default="TRADER"),
        sa.Column("display_name", sa.String(128)),
        sa.Column("email", sa.String(255)),
        sa.Column("created_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("updated_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.UniqueConstraint("username", name="ux_users_username"),
        if_not_exists=True,
    )
    users = sa.table(
        "users",
        sa.column("username", sa.String),
        sa.column("password_hash", sa.String),
        sa.column("role", sa.String),
        sa.column("display_name", sa.String),
    )
    admin = sa.select(users.c.username).where(users.c.username == "admin")
    if op.get_bind().scalar(admin) is None:
        op.bulk_insert(
            users,
            [
                {
                    "username": "admin",
                    "password_hash": hash_password("admin"),
                    "role": "ADMIN",
                    "display_name": "Administrator",
                }
            ],
        )


def downgrade() -> None:
    op.drop_table("users")
