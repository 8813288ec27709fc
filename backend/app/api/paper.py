"""The simulation's turn: fill paper orders whose price has been reached."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from app.core.market_hours import is_market_open_now
from app.core.sessions import AppSettings, CurrentUser, Db
from app.services.orders.paper import price_client
from app.services.orders.paper_fills import fill_reached_orders

router = APIRouter(prefix="/api/paper", tags=["paper"])


class PollResult(BaseModel):
    """How many paper orders were filled."""

    filled_orders: int


@router.post("/poll", response_model=PollResult)
def poll(db: Db, settings: AppSettings, user: CurrentUser) -> PollResult:
    """Fill what can be filled; nothing while the market is closed or no prices are known."""
    client = price_client(db, settings, user.id) if is_market_open_now() else None
    return PollResult(filled_orders=0 if client is None else fill_reached_orders(db, client))
