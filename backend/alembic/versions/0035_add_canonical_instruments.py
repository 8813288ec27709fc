"""Securities, their listings, and what each broker calls a listing.

The instruments known so far become listings with their Zerodha token; two that differ only in letter case
share one listing, and a token that occurs twice is taken once.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"


market_instruments = sa.table(
    "market_instruments",
    sa.column("id", sa.Integer),
    sa.column("symbol", sa.String),
    sa.column("exchange", sa.String),
    sa.column("instrument_token", sa.String),
    sa.column("name", sa.String),
    sa.column("active", sa.Boolean),
)
listings = sa.table(
    "listings",
    sa.column("id", sa.Integer),
    sa.column("exchange", sa.String),
    sa.column("symbol", sa.String),
    sa.column("name", sa.String),
    sa.column("active", sa.Boolean),
)
broker_instruments = sa.table(
    "broker_instruments",
    sa.column("listing_id", sa.Integer),
    sa.column("broker_name", sa.String),
    sa.column("exchange", sa.String),
    sa.column("broker_symbol", sa.String),
    sa.column("instrument_token", sa.String),
    sa.column("active", sa.Boolean),
)


def upgrade() -> None:
    op.create_table(
        "securities",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("isin", sa.String(32)),
        sa.Column("name", sa.String(255)),
        sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("created_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("updated_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.UniqueConstraint("isin", name="ux_securities_isin"),
    )
    op.create_index("ix_securities_isin", "securities", ["isin"])
    op.create_table(
        "listings",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("security_id", sa.Integer(), sa.ForeignKey("securities.id", ondelete="SET NULL")),
        sa.Column("exchange", sa.String(32), nullable=False),
        sa.Column("symbol", sa.String(128), nullable=False),
        sa.Column("name", sa.String(255)),
        sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("created_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("updated_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.UniqueConstraint("exchange", "symbol", name="ux_listings_exchange_symbol"),
    )
    op.create_index("ix_listings_exchange_symbol", "listings", ["exchange", "symbol"])
    op.create_index("ix_listings_security_exchange", "listings", ["security_id", "exchange"])
    op.create_table(
        "broker_instruments",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "listing_id", sa.Integer(), sa.ForeignKey("listings.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("broker_name", sa.String(32), nullable=False),
        sa.Column("exchange", sa.String(32), nullable=False),
        sa.Column("broker_symbol", sa.String(128), nullable=False),
        sa.Column("instrument_token", sa.String(64), nullable=False),
        sa.Column("isin", sa.String(32)),
        sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("created_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("updated_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.UniqueConstraint("broker_name", "instrument_token", name="ux_broker_instruments_broker_token"),
    )
    op.create_index(
        "ix_broker_instruments_broker_exchange_symbol",
        "broker_instruments",
        ["broker_name", "exchange", "broker_symbol"],
    )
    op.create_index(
        "ix_broker_instruments_broker_listing", "broker_instruments", ["broker_name", "listing_id"]
    )
    take_over_instruments(op.get_bind())


def take_over_instruments(bind: sa.Connection) -> None:
    """Make a listing and a Zerodha instrument of every market instrument."""
    listed: dict[tuple[str, str], int] = {}
    tokens: set[str] = set()
    for row in bind.execute(sa.select(market_instruments).order_by(market_instruments.c.id)).all():
        exchange, symbol, token = row.exchange.upper(), row.symbol.upper(), str(row.instrument_token)
        if (exchange, symbol) not in listed:
            listed[exchange, symbol] = insert_listing(bind, exchange, symbol, row)
        if token not in tokens:
            tokens.add(token)
            bind.execute(
                broker_instruments.insert().values(
                    listing_id=listed[exchange, symbol],
                    broker_name="zerodha",
                    exchange=exchange,
                    broker_symbol=symbol,
                    instrument_token=token,
                    active=row.active,
                )
            )


def insert_listing(bind: sa.Connection, exchange: str, symbol: str, row: sa.Row[Any]) -> int:
    """Insert one listing and return its id."""
    values = {"exchange": exchange, "symbol": symbol, "name": row.name, "active": row.active}
    return bind.execute(listings.insert().values(values).returning(listings.c.id)).scalar_one()


def downgrade() -> None:
    op.drop_table("broker_instruments")
    op.drop_table("listings")
    op.drop_table("securities")
