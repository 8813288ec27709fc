"""What the stored rows say about deliveries: settings, users, strategies, earlier copies, cached positions.

One statement reads it for a whole group. Every check finds its answer in these rows or in their lack, so it
does not matter that some are read in vain for a delivery which is then refused. The statement is a UNION of
one part per kind of row; a part that no delivery asks for is left out. Each combination of parts is built once:
to build one costs more than to execute it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    CompoundSelect,
    Float,
    Integer,
    Select,
    String,
    bindparam,
    cast,
    literal_column,
    null,
    or_,
    select,
    union_all,
)  # fmt: skip
from sqlalchemy.orm import Session

from app.config_files import supported_brokers
from app.core.config import Settings
from app.core.crypto import decrypt_token
from app.core.security import same_text
from app.models import Alert, BrokerSecret, Order, Position, Strategy, User
from app.services.orders.rows import DEFAULT_BROKER
from app.services.shared.users import default_user_name, default_user_rank
from app.services.webhook.settings.routing import (
    TRADINGVIEW_WEBHOOK_CONFIG_KEY,
    TradingViewWebhookConfig,
    decode_webhook_config,
)
from app.services.webhook.settings.secret import TRADINGVIEW_WEBHOOK_SECRET_KEY, WEBHOOK_BROKER_NAME

_USERS, _STRATEGIES = User.__table__.c, Strategy.__table__.c
_SECRETS, _ORDERS = BrokerSecret.__table__.c, Order.__table__.c
_ALERTS, _POSITIONS = Alert.__table__.c, Position.__table__.c


@dataclass(frozen=True)
class Recipient:
    """The user that an alert is for."""

    id: int
    username: str


@dataclass(frozen=True)
class NamedStrategy:
    """The enabled strategy that an alert names."""

    id: int
    execution_mode: str
    execution_target: str


@dataclass(frozen=True)
class Duplicate:
    """The rows that an earlier copy of the delivery left."""

    order_id: int
    alert_id: int | None
    created_at: datetime


@dataclass(frozen=True)
class OlderOrder:
    """An order whose key was made by an earlier release, with the text of its alert.

    Such a key does not name everything that identifies a signal, so the text has to be compared.
    """

    duplicate: Duplicate
    raw_payload: str


@dataclass(frozen=True)
class CachedPosition:
    """A long position as it was last read from a broker; quantity in units."""

    id: int
    broker_name: str
    symbol: str
    exchange: str
    product: str
    qty: float


@dataclass(frozen=True)
class StoredWebhookSettings:
    """The rows of `broker_secrets` that belong to the webhook, still encrypted, by owner."""

    secrets: dict[int | None, str]
    configs: dict[int | None, str]
    rows: list[tuple[int, str, int | None, str]] = field(default_factory=list)

    def order(self) -> None:
        """Sort the rows that were read, in the order of their ids, into `secrets` and `configs`."""
        for _id, key, owner, value in sorted(self.rows, key=lambda row: row[0]):
            rows_of_key = self.secrets if key == TRADINGVIEW_WEBHOOK_SECRET_KEY else self.configs
            rows_of_key.setdefault(owner, value)

    def secret_is_valid(self, settings: Settings, given: str) -> bool:
        """Whether the given secret is the one in force; an undecodable stored secret matches nothing."""
        encrypted = self.secrets.get(None)
        try:
            expected = decrypt_token(settings, encrypted) if encrypted is not None else None
        except (ValueError, RuntimeError):
            return False
        if not (expected or "").strip():
            expected = settings.tradingview_webhook_secret
        expected = (expected or "").strip()
        return not expected or same_text(expected, given.strip())

    def config_for(self, settings: Settings, user_id: int) -> TradingViewWebhookConfig | None:
        """The user's stored routing, else the global one, else None."""
        encrypted = self.configs.get(user_id, self.configs.get(None))
        return None if encrypted is None else decode_webhook_config(settings, encrypted)


@dataclass(frozen=True)
class Found:
    """Everything that is stored about a delivery."""

    webhook: StoredWebhookSettings
    user: Recipient | None
    strategy: NamedStrategy | None
    earlier: Duplicate | None
    older: OlderOrder | None = None
    positions: Sequence[CachedPosition] = ()


@dataclass(frozen=True)
class Asked:
    """What to look for. None: nothing of the kind; `default_user` asks for the one that takes other alerts.

    `sold` is the symbol, in capitals, whose cached positions a SELL asks for.
    """

    username: str | None = None
    default_user: bool = False
    strategy: str | None = None
    key: str | None = None
    older_key: str | None = None
    sold: str | None = None


@dataclass
class GroupFound:
    """Everything that is stored about a group of deliveries, by what each asks for."""

    webhook: StoredWebhookSettings = field(default_factory=lambda: StoredWebhookSettings({}, {}))
    users: dict[str, Recipient] = field(default_factory=dict)
    default_user: Recipient | None = None
    strategies: dict[str, NamedStrategy] = field(default_factory=dict)
    orders: dict[str, Duplicate] = field(default_factory=dict)
    older: dict[str, OlderOrder] = field(default_factory=dict)
    positions: dict[str, list[CachedPosition]] = field(default_factory=dict)

    def about(self, asked: Asked) -> Found:
        """The part that one delivery asked for."""
        user = self.default_user if asked.default_user else self.users.get(asked.username or "")
        return Found(
            self.webhook,
            user,
            self.strategies.get(asked.strategy or ""),
            self.orders.get(asked.key or ""),
            self.older.get(asked.older_key or ""),
            self.positions.get(asked.sold or "", ()),
        )


def look_up(db: Session, settings: Settings, asked: Asked) -> Found:
    """What is stored about one delivery."""
    return look_up_all(db, settings, [asked]).about(asked)


def look_up_all(db: Session, settings: Settings, group: Sequence[Asked]) -> GroupFound:
    """Read the webhook's settings and what the deliveries name; of duplicate settings the oldest counts."""
    connection = db.connection()
    values: dict[str, Any] = {
        "usernames": _distinct(asked.username for asked in group),
        "strategies": _distinct(asked.strategy for asked in group),
        "keys": _distinct(asked.key for asked in group),
        "older_keys": _distinct(asked.older_key for asked in group),
        "sold": _distinct(asked.sold for asked in group),
    }
    alone = len(group) == 1
    wanted = frozenset(name for name, listed in values.items() if listed)
    values = {name: listed[0] if alone else listed for name, listed in values.items() if listed}
    if "sold" in wanted:
        values["brokers"] = sorted({*supported_brokers(), DEFAULT_BROKER})
    if any(asked.default_user for asked in group):
        wanted |= {"default_user"}
        values["default_user"] = default_user_name(settings)
    found = GroupFound()
    for row in connection.execute(_statement(wanted, alone), values).all():
        _READERS[row[0]](found, row)
    found.webhook.order()
    for listed in found.positions.values():
        listed.sort(key=lambda position: position.id)
    return found


def find_earlier(db: Session, keys: Sequence[str]) -> dict[str, Duplicate]:
    """The orders that have these keys, whoever stored them meanwhile."""
    rows = db.connection().execute(_EARLIER, {"keys": list(keys)})
    return {row[0]: Duplicate(*row[1:]) for row in rows}


def _distinct(values: Iterable[str | None]) -> list[str]:
    return sorted({value for value in values if value is not None})


# -- what one row of the answer means; its columns: kind, id, number, four texts, quantity, time -----------


def _read_setting(found: GroupFound, row: Any) -> None:
    found.webhook.rows.append((row[1], row[3], row[2], row[4]))


def _read_user(found: GroupFound, row: Any) -> None:
    found.users[row[3]] = Recipient(row[1], row[3])


def _read_default_user(found: GroupFound, row: Any) -> None:
    found.default_user = Recipient(row[1], row[3])


def _read_strategy(found: GroupFound, row: Any) -> None:
    found.strategies[row[3]] = NamedStrategy(row[1], row[4], row[5])


def _read_order(found: GroupFound, row: Any) -> None:
    found.orders[row[3]] = Duplicate(row[1], row[2], row[8])


def _read_older(found: GroupFound, row: Any) -> None:
    found.older[row[3]] = OlderOrder(Duplicate(row[1], row[2], row[8]), row[4] or "")


def _read_position(found: GroupFound, row: Any) -> None:
    position = CachedPosition(row[1], row[3], row[4], row[5], row[6], row[7])
    found.positions.setdefault(position.symbol, []).append(position)


_READERS: Final = (
    _read_setting, _read_user, _read_default_user, _read_strategy, _read_order, _read_older, _read_position,
)  # fmt: skip


@lru_cache(maxsize=256)
def _statement(wanted: frozenset[str], alone: bool) -> CompoundSelect[Any]:
    """The statement of a group, or of a delivery that is alone: it takes single values, no lists to be written out."""
    parts = _parts(_is if alone else _within)
    return union_all(_SETTINGS_PART, *(part for name, part in parts.items() if name in wanted))


def _part(kind: int, **columns: Any) -> Select[Any]:
    """The columns of every part, NULL where this kind of row has none."""
    names = ("id", "number", "text1", "text2", "text3", "text4", "qty", "at")
    types = (Integer(), Integer(), *[String()] * 4, Float(), _ORDERS.created_at.type)
    return select(
        literal_column(str(kind), Integer()).label("kind"),
        *(
            columns.get(name, cast(null(), kind_)).label(name)
            for name, kind_ in zip(names, types, strict=True)
        ),
    )


def _within(column: Any, name: str) -> Any:
    return column.in_(bindparam(name, expanding=True))


def _is(column: Any, name: str) -> Any:
    return column == bindparam(name)


def _orders_part(kind: int, among: Any, **more: Any) -> Select[Any]:
    return _part(
        kind,
        id=_ORDERS.id,
        number=_ORDERS.alert_id,
        text1=_ORDERS.client_order_id,
        at=_ORDERS.created_at,
        **more,
    ).where(among)


_SETTINGS_PART: Final = _part(
    0, id=_SECRETS.id, number=_SECRETS.user_id, text1=_SECRETS.key, text2=_SECRETS.value_encrypted
).where(
    _SECRETS.broker_name == WEBHOOK_BROKER_NAME,
    # No list: it would be written out anew at each execution.
    or_(_SECRETS.key == TRADINGVIEW_WEBHOOK_SECRET_KEY, _SECRETS.key == TRADINGVIEW_WEBHOOK_CONFIG_KEY),
)
_FIRST = (
    select(_USERS.id)
    .order_by(default_user_rank(bindparam("default_user")), _USERS.id)
    .limit(1)
    .scalar_subquery()
)


def _parts(among: Callable[[Any, str], Any]) -> dict[str, Select[Any]]:
    """The parts by what they ask for. `among`: the condition that a column has one of the values of a name."""
    return {
        "usernames": _part(1, id=_USERS.id, text1=_USERS.username).where(among(_USERS.username, "usernames")),
        "default_user": _part(2, id=_USERS.id, text1=_USERS.username).where(_USERS.id == _FIRST),
        "strategies": _part(
            3, id=_STRATEGIES.id, text1=_STRATEGIES.name, text2=_STRATEGIES.execution_mode,
            text3=_STRATEGIES.execution_target,
        ).where(among(_STRATEGIES.name, "strategies"), _STRATEGIES.enabled.is_(True)),
        "keys": _orders_part(4, among(_ORDERS.client_order_id, "keys")),
        "older_keys": _orders_part(5, among(_ORDERS.client_order_id, "older_keys"), text2=_ALERTS.raw_payload)
        .select_from(Order.__table__.outerjoin(Alert.__table__, _ALERTS.id == _ORDERS.alert_id)),
        "sold": _part(
            6, id=_POSITIONS.id, text1=_POSITIONS.broker_name, text2=_POSITIONS.symbol,
            text3=_POSITIONS.exchange, text4=_POSITIONS.product, qty=_POSITIONS.qty,
        ).where(_within(_POSITIONS.broker_name, "brokers"), among(_POSITIONS.symbol, "sold"), _POSITIONS.qty > 0),
    }  # fmt: skip


_EARLIER: Final = select(_ORDERS.client_order_id, _ORDERS.id, _ORDERS.alert_id, _ORDERS.created_at).where(
    _within(_ORDERS.client_order_id, "keys")
)
