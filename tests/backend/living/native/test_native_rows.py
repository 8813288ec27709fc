"""Rows that stand against the native branch: named with what to do, kept or set aside by choice, and never lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, insert

from app.db.common.errors import Refused
from app.db.session.runtime import Runtime
from app.models import (
    Alert,
    BrokerSecret,
    DrawdownThreshold,
    ManagedRiskPosition,
    Order,
    RiskProfile,
    RiskSettings,
    Strategy,
    StrategyDeployment,
    SymbolRiskCategory,
    SystemEvent,
    User,
)
from app.native import branch, wanted
from app.native.aside import TABLE, bring_back, set_aside
from app.native.report import for_new_rows_only, stand_against
from tests.backend.living.native.native_schema import REVISIONS, schema

NO_DOCUMENTS = (
    "no JSON",
    "",
    '{"a": NaN}',
    '{"a": Infinity}',
    "{'a': 1}",
    '{"a": 1e999999}',
    "\\u0000",
    "[" * 9999,
)
# Odd, and documents all the same: they are kept byte for byte.
ODD_DOCUMENTS = (
    '{"a": 1, "a": 2}', '{"a": "\\u0000"}', '{"b":1 ,"a":1e308}', '{"n": 123456789012345678901234567890.10}',
    '"text"', "7", "null", "[]", '[{"a": []}]', ' {"a" : "\\\\u0000"} ', '{"": "तेजी"}',
)  # fmt: skip


def _add(connection: Connection, model: Any, **values: Any) -> int:
    found: int = connection.execute(insert(model).values(values).returning(model.id)).scalar_one()
    return found


def _position(connection: Connection, **values: Any) -> int:
    order = _add(connection, Order, symbol="X", side="BUY", qty=1)
    given = {
        "entry_order_id": order,
        "symbol": "X",
        "product": "MIS",
        "side": "BUY",
        "qty": 1,
        "entry_price": 0.1,
    }
    given |= {"best_favorable_price": 0.1 + 0.2, "status": "EXITED", "risk_spec_json": "{}"}
    return _add(connection, ManagedRiskPosition, **given | values)


def _deployment(connection: Connection, owner: int, config: str) -> int:
    values = {"owner_id": owner, "name": config[:40], "kind": "STRATEGY", "enabled": False, "symbol": "X"}
    return _add(connection, StrategyDeployment, **values, exchange="NSE", timeframe="5m", config_json=config)


def _drop_key(connection: Connection, table: str, column: str) -> str:
    query = sa.text(
        "SELECT conname, pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_attribute a ON attrelid = conrelid"
        " AND attnum = conkey[1] WHERE conrelid = to_regclass(:table) AND contype = 'f' AND attname = :column"
    )
    name, definition = connection.execute(query, {"table": table, "column": column}).one()
    connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    connection.info["keys"] = [
        *connection.info.get("keys", ()),
        f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID",
    ]
    return str(name)


class Bad(dict[str, set[int]]):
    """The ids of the rows that stand against a constraint, by its name."""

    def against(self, name: str, *ids: int) -> None:
        self.setdefault(name, set()).update(ids)


def fill(connection: Connection) -> Bad:
    """A row against everything that the branch adds, and beside each one that is right."""
    bad = Bad()
    owner = _add(connection, User, username="u", password_hash="x", role="TRADER", display_name="U")
    _strategies(connection, bad, owner)
    _risk(connection, bad)
    _only_ones(connection, bad, owner)
    _no_times(connection, bad)
    _documents(connection, bad, owner)
    _references(connection, bad)
    return bad


def _strategies(connection: Connection, bad: Bad, owner: int) -> None:
    for target in ("LIVE", "PAPER"):
        _add(connection, Strategy, name=target, execution_target=target, owner_id=owner)
    for target in ("MOON", "", "live", "LIVE "):
        bad.against(
            "ck_strategies_execution_target",
            _add(connection, Strategy, name=f"<{target}>", execution_target=target),
        )
    bad.against(
        "fk_strategies_owner_id",
        _add(connection, Strategy, name="orphan", execution_target="LIVE", owner_id=10**6),
    )


def _risk(connection: Connection, bad: Bad) -> None:
    profile = {"name": "p", "product": "CNC", "drawdown_mode": "SETTINGS_BY_CATEGORY"}
    bad.against("ck_risk_profiles_product", _add(connection, RiskProfile, **profile | {"product": "NRML"}))
    bad.against(
        "ck_risk_profiles_drawdown_mode",
        _add(connection, RiskProfile, **profile | {"name": "q", "drawdown_mode": "OFF"}),
    )
    threshold = {"product": "CNC", "category": "LC", "caution_pct": 1, "defense_pct": 2, "hard_stop_pct": 3}
    _add(connection, DrawdownThreshold, **threshold)
    bad.against("ux_drawdown_thresholds_global", _add(connection, DrawdownThreshold, **threshold))
    bad.against(
        "ck_drawdown_thresholds_product",
        _add(connection, DrawdownThreshold, **threshold | {"product": "NRML"}),
    )
    bad.against(
        "ck_drawdown_thresholds_category",
        _add(connection, DrawdownThreshold, **threshold | {"category": "XL"}),
    )
    category = {"broker_name": "zerodha", "symbol": "X", "exchange": "NSE", "risk_category": "LC"}
    _add(connection, SymbolRiskCategory, **category)
    bad.against("ux_symbol_risk_categories_global", _add(connection, SymbolRiskCategory, **category))
    bad.against(
        "ck_symbol_risk_categories_category",
        _add(connection, SymbolRiskCategory, **category | {"symbol": "Y", "risk_category": "?"}),
    )


def _only_ones(connection: Connection, bad: Bad, owner: int) -> None:
    secret = {"broker_name": "b", "key": "k", "value_encrypted": "x"}
    _add(connection, BrokerSecret, **secret, user_id=owner)
    _add(connection, BrokerSecret, **secret)
    bad.against("ux_broker_secrets_global", *(_add(connection, BrokerSecret, **secret) for _ in "ab"))
    _add(connection, RiskSettings, scope="GLOBAL")
    bad.against("ux_risk_settings_global", _add(connection, RiskSettings, scope="GLOBAL"))


def _no_times(connection: Connection, bad: Bad) -> None:
    for column in ("created_at", "updated_at"):
        empty = _position(connection, symbol=column)
        connection.exec_driver_sql(
            f"UPDATE managed_risk_positions SET {column} = NULL, entry_price = '-0', qty = 'NaN' WHERE id = {empty}"
        )
        bad.against(f"managed_risk_positions.{column}", empty)


def _documents(connection: Connection, bad: Bad, owner: int) -> None:
    for text in (*NO_DOCUMENTS, *ODD_DOCUMENTS):
        order = _add(connection, Order, symbol="X", side="BUY", qty=1, price=1e-300, risk_spec_json=text)
        position = _position(connection, risk_spec_json=text)
        deployment = _deployment(connection, owner, text)
        if text in NO_DOCUMENTS:
            bad.against("ck_orders_risk_spec_document", order)
            bad.against("ck_managed_risk_positions_risk_spec_document", position)
            bad.against("ck_strategy_deployments_config_document", deployment)
        _add(connection, SystemEvent, level="INFO", category="c", message="m", details=text)
        _add(connection, Alert, symbol="X", action="BUY", qty=1, raw_payload=text)
    long = {"order_id": "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(9000))}
    _add(connection, SystemEvent, level="INFO", category="c", message="m", details=json.dumps(long))


def _references(connection: Connection, bad: Bad) -> None:
    name = _drop_key(connection, "orders", "alert_id")
    bad.against(name, _add(connection, Order, symbol="X", side="BUY", qty=1, alert_id=10**6))
    name = _drop_key(connection, "strategy_deployments", "owner_id")
    bad.against(name, _deployment(connection, 10**6, "{}"))
    for key in connection.info.pop("keys"):
        connection.exec_driver_sql(key)


def content(engine: Engine) -> dict[str, list[str]]:
    """Every row of the tables that the branch looks at, as text."""
    tables = {
        one.table
        for one in (
            *wanted.CHECKS,
            *wanted.DOCUMENTS,
            *wanted.NOT_NULLS,
            *wanted.ONLY_ONES,
            *wanted.REFERENCES,
        )
    } | {"alerts", "system_events"}
    with engine.connect() as connection:
        return {
            table: list(connection.scalars(sa.text(f"SELECT {table}::text FROM {table} ORDER BY id")))
            for table in sorted(tables)
        }


def test_every_constraint_names_what_stands_against_it(runtime: Runtime, engine: Engine) -> None:
    with engine.begin() as connection:
        bad = fill(connection)
    before, rows = schema(engine), content(engine)
    with branch.connect(runtime) as connection:
        found = {one.constraint: one for one in stand_against(connection)}
    names = {
        one.name
        for one in (
            *wanted.CHECKS,
            *wanted.DOCUMENTS,
            *wanted.NOT_NULLS,
            *wanted.ONLY_ONES,
            *wanted.REFERENCES,
        )
    }
    assert names < set(bad)
    assert {name: one.rows for name, one in found.items()} == {name: len(ids) for name, ids in bad.items()}
    assert all(set(one.ids) == bad[name] for name, one in found.items())
    assert all(f"`set-aside {name}`" in one.remedy for name, one in found.items())
    assert {name for name, one in found.items() if "--keep" not in one.remedy} == {
        one.name for one in (*wanted.NOT_NULLS, *wanted.ONLY_ONES)
    }
    for keep in (False, True):
        with pytest.raises(Refused, match="ux_broker_secrets_global: 2 rows of broker_secrets"):
            branch.upgrade(runtime, keep=keep)
    assert (schema(engine), content(engine)) == (before, rows)


def test_what_is_kept_stays_and_is_checked_when_it_is_right(runtime: Runtime, engine: Engine) -> None:
    with engine.begin() as connection:
        bad = fill(connection)
    with branch.connect(runtime) as connection:
        for one in (*wanted.NOT_NULLS, *wanted.ONLY_ONES):
            assert set_aside(connection, one.name) == len(bad[one.name])
    rows = content(engine)
    with pytest.raises(Refused, match="ck_orders_risk_spec_document: 8 rows of orders"):
        branch.upgrade(runtime)
    assert branch.upgrade(runtime, keep=True) == REVISIONS
    assert content(engine) == rows
    kept = set(bad) - {one.name for one in (*wanted.NOT_NULLS, *wanted.ONLY_ONES)}
    with engine.connect() as connection:
        assert set(for_new_rows_only(connection)) == kept
        with pytest.raises(sa.exc.IntegrityError):
            connection.execute(insert(Strategy).values(name="t", execution_target="MOON"))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE strategies SET execution_target = 'LIVE' WHERE execution_target <> 'PAPER'"
        )
    assert branch.upgrade(runtime, keep=True) == []
    with engine.connect() as connection:
        assert set(for_new_rows_only(connection)) == kept - {"ck_strategies_execution_target"}


def test_what_is_set_aside_comes_back_as_it_was(runtime: Runtime, engine: Engine) -> None:
    with engine.begin() as connection:
        bad = fill(connection)
    before, rows = schema(engine), content(engine)
    with branch.connect(runtime) as connection:
        for name, ids in bad.items():
            assert set_aside(connection, name) == len(ids)
        assert stand_against(connection) == []
    assert branch.upgrade(runtime) == REVISIONS
    with branch.connect(runtime) as connection:
        assert for_new_rows_only(connection) == []
        with pytest.raises(Refused, match="does not let them back"):
            bring_back(connection, "ux_broker_secrets_global")
        assert bring_back(connection, "ck_strategies_execution_target") == 4
        assert for_new_rows_only(connection) == ["ck_strategies_execution_target"]
    branch.downgrade(runtime)
    with branch.connect(runtime) as connection:
        for name in set(bad) - {"ck_strategies_execution_target"}:
            assert bring_back(connection, name) == len(bad[name])
        assert bring_back(connection, "ck_strategies_execution_target") == 0
        assert not sa.inspect(connection).has_table(TABLE)
    assert (content(engine), schema(engine)) == (rows, before)


def test_a_row_that_others_point_to_is_not_set_aside(runtime: Runtime, engine: Engine) -> None:
    with engine.begin() as connection:
        strategy = _add(connection, Strategy, name="s", execution_target="MOON")
        _add(connection, Alert, symbol="X", action="BUY", qty=1, raw_payload="{}", strategy_id=strategy)
    rows = content(engine)
    with branch.connect(runtime) as connection:
        with pytest.raises(Refused, match="1 rows of alerts point to rows of strategies"):
            set_aside(connection, "ck_strategies_execution_target")
        with pytest.raises(Refused, match="no constraint"):
            set_aside(connection, "ck_nothing")
    assert content(engine) == rows


def test_a_place_that_was_taken_meanwhile_is_named(runtime: Runtime, engine: Engine) -> None:
    with engine.begin() as connection:
        strategy = _add(connection, Strategy, name="s", execution_target="MOON")
    with branch.connect(runtime) as connection:
        set_aside(connection, "ck_strategies_execution_target")
        with engine.begin() as other:
            _add(other, Strategy, id=strategy, name="t", execution_target="LIVE")
        with pytest.raises(Refused, match="in the way"):
            bring_back(connection, "ck_strategies_execution_target")


def test_an_event_whose_details_are_no_use_to_the_index_is_stored(runtime: Runtime, engine: Engine) -> None:
    branch.upgrade(runtime)
    long = json.dumps({"order_id": "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(9000))})
    with engine.begin() as connection:
        for details in (long, "[" * 50_000, '{"a":' * 20_000, *NO_DOCUMENTS, *ODD_DOCUMENTS):
            _add(connection, SystemEvent, level="INFO", category="c", message="m", details=details)
