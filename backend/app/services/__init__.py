"""What the application does behind its routes: one folder per subject.

Code written against the application imports some modules of this package by the flat names that they
had before they stood in folders. `PUBLIC_NAMES` keeps each of these names: the flat name and the place
in the folder are one module object, so that a value replaced under one name is replaced under both.
Twenty flat modules beside the folders would have kept the names too, but would hide the subjects.
The application itself imports from the folders only.

`orders`, `risk` and `market_data` have kept their place, and need no second name.
"""

import sys
from importlib import import_module
from typing import Final

from app.services.orders import create_order_from_alert

__all__ = ["PUBLIC_NAMES", "create_order_from_alert"]

PUBLIC_NAMES: Final = {
    "alert_expression": "strategies.expression",
    "alert_expression_dsl": "strategies.dsl",
    "broker_secrets": "brokers.secrets",
    "deployment_jobs": "deployments.jobs",
    "deployment_scheduler": "deployments.scheduler",
    "indicator_alerts": "strategies.errors",
    "paper_trading": "orders.paper",
    "positions_sync": "positions.sync",
    "price_ticks": "orders.price_ticks",
    "risk_engine_v2_flag_store": "risk.engine_flag",
    "risk_policy_store": "risk.policy_store",
    "system_events": "shared.system_events",
    "tradingview_sell_qty": "positions.sell_qty",
    "tradingview_webhook_config": "webhook.settings.routing",
    "tradingview_zerodha_adapter": "webhook.normalize",
    "users": "shared.users",
    "webhook_secrets": "webhook.settings.secret",
}

for _name, _place in PUBLIC_NAMES.items():
    _module = import_module(f"{__name__}.{_place}")
    sys.modules[f"{__name__}.{_name}"] = _module
    globals()[_name] = _module
