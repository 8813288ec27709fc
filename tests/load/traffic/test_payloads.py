"""Every shape is answered as it says, leaves exactly what it says, and the stream of signals is reproducible."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from app.core.config import get_settings
from app.db import Base, get_db
from app.main import app
from app.models import User
from loadtests.judge.oracle import judge
from loadtests.judge.sides import SqliteSide
from loadtests.traffic.ledger import Attempt, Outcome
from loadtests.traffic.payloads import SHAPES
from loadtests.traffic.sender import PATH, conclude
from loadtests.traffic.shapes import Shape, tick
from loadtests.traffic.signals import SYMBOLS, Signals, skewed
from loadtests.traffic.wire import Answer

with warnings.catch_warnings():
    # Starlette's client works with httpx but announces that it will want httpx2.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

SECRET = "load-secret"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Path]]:
    """The application on a SQLite file with two users."""
    folder = tmp_path_factory.mktemp("payloads")
    engine = create_engine(f"sqlite:///{folder / 'api.db'}")
    Base.metadata.create_all(engine)
    sessions = sessionmaker(bind=engine, expire_on_commit=False)
    with sessions() as db:
        db.add_all(User(username=name, password_hash="x", role="TRADER") for name in ("ann", "bob"))
        db.commit()

    def get_test_db() -> Iterator[Session]:
        with sessions() as db:
            yield db

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ST_CONFIG_DIR", str(folder))
        patch.setattr(get_settings(), "tradingview_webhook_secret", SECRET)
        patch.setattr(get_settings(), "crypto_key", "load-test-key")
        patch.setitem(app.dependency_overrides, get_db, get_test_db)
        yield TestClient(app, raise_server_exceptions=False), folder / "api.db"
    engine.dispose()


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
def test_a_shape_is_answered_and_stored_as_it_says(shape: Shape, served: tuple[TestClient, Path]) -> None:
    client, path = served
    run = "p" + "".join(filter(str.isalnum, shape.name))
    signals = Signals(run, ["ann", "bob"], seed=3, shapes=[shape])
    deliveries = []
    for _ in range(12):  # with and without a price, both sides, every comment
        signal, _ = signals.next()
        wire = shape.write(signal, SECRET)
        headers = {"Content-Type": wire.content_type, **wire.headers}
        response = client.post(PATH, content=wire.body, headers=headers)
        assert response.status_code == shape.status, response.text
        answer = Answer(response.status_code, response.content)
        deliveries.append(conclude(signal, shape, (Attempt(0, 1, answer.status),), 1.0, answer))
    due = Outcome.ACKNOWLEDGED if shape.stored else Outcome.REFUSED
    assert Counter(delivery.outcome for delivery in deliveries) == {due: 12}
    side = SqliteSide(path)
    assert judge(run, deliveries, [side]).findings == []
    side.close()


def test_a_delivery_that_is_sent_again_names_the_same_rows(served: tuple[TestClient, Path]) -> None:
    client, _ = served
    for shape in filter(lambda shape: shape.stored, SHAPES):
        signal, _ = Signals(f"again{shape.weight}", ["ann"], seed=5, shapes=[shape]).next()
        wire = shape.write(signal, SECRET)
        headers = {"Content-Type": wire.content_type, **wire.headers}
        first, second = (client.post(PATH, content=wire.body, headers=headers).json() for _ in range(2))
        assert second["status"] == "deduped", shape.name
        assert (second["alert_id"], second["order_id"]) == (first["alert_id"], first["order_id"]), shape.name


def test_the_same_seed_gives_the_same_stream() -> None:
    def first(seed: int) -> list[tuple[object, str]]:
        signals = Signals("s", ["a", "b", "c"], seed=seed)
        return [(signal, shape.name) for signal, shape in (signals.next() for _ in range(200))]

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_markers_are_unique_and_every_shape_comes_up() -> None:
    signals = Signals("s", ["a"], seed=1)
    drawn = [signals.next() for _ in range(3000)]
    assert len({signal.marker for signal, _ in drawn}) == 3000
    assert {shape.name for _, shape in drawn} == {shape.name for shape in SHAPES}


def test_users_and_symbols_are_skewed() -> None:
    signals = Signals("s", [f"u{n}" for n in range(10)], seed=1, skew=1.4)
    drawn = [signals.next()[0] for _ in range(3000)]
    users = Counter(signal.user for signal in drawn)
    assert users["u0"] > 5 * users["u9"] > 0
    assert users.most_common(1)[0][0] == "u0"
    assert Counter(signal.symbol for signal in drawn).most_common(1)[0][0] == SYMBOLS[0]
    assert skewed([1, 2, 3], 0.0) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("price", "rounded"), [(320.29, 320.3), (320.26, 320.25), (320.275, 320.3), (0.01, 0.0), (None, None)]
)
def test_prices_go_to_the_nearest_tick(price: float | None, rounded: float | None) -> None:
    assert tick(price) == rounded
