"""The events of one order, found by the documents in their details, on every kind of database."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from app.models import SystemEvent
from app.services.shared.documents import number_in
from tests.backend.living.conftest import Store

FOUND = [{"order_id": 12}, {"a": 1, "order_id": 12, "b": "x"}, {"order_id": 12, "reason": "\x00 तेजी"}]
OTHERS = [
    {"order_id": 120},
    {"order_id": 2},
    {"queue_order_id": 12},
    {"order_id": None},
    {"note": '"order_id": 12,'},
]


@pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
def test_only_events_that_name_the_order_are_found(store: Store) -> None:
    with store.sessions() as db:
        texts = [json.dumps(details, ensure_ascii=False) for details in (*FOUND, *OTHERS)]
        for text in (*texts, None, "", "no document", "{"):
            db.add(SystemEvent(level="INFO", category="c", message="m", details=text))
        db.commit()
        query = select(SystemEvent.details).where(number_in(db, SystemEvent.details, "order_id") == "12")
        assert list(db.scalars(query.order_by(SystemEvent.id))) == texts[: len(FOUND)]
