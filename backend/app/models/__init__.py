"""All ORM classes. Importing this package fills `Base.metadata` with the whole schema."""

from app.models.alerts_v3 import AlertDefinition, AlertEvent, CustomIndicator
from app.models.backtests import BacktestRun
from app.models.broker import BrokerConnection, BrokerSecret
from app.models.deployment_runtime import (
    StrategyDeploymentAction,
    StrategyDeploymentBarCursor,
    StrategyDeploymentEventLog,
    StrategyDeploymentJob,
    StrategyDeploymentLock,
)
from app.models.deployments import StrategyDeployment, StrategyDeploymentState
from app.models.execution_policy import ExecutionPolicyState
from app.models.group_imports import GroupImport, GroupImportValue
from app.models.groups import Group, GroupMember
from app.models.holdings import HoldingGoal, HoldingGoalImportPreset, HoldingGoalReview
from app.models.instruments import BrokerInstrument, Listing, Security
from app.models.market_calendar import MarketCalendar
from app.models.market_data import Candle, MarketInstrument
from app.models.order_jobs import OrderJob
from app.models.rebalance import RebalancePolicy, RebalanceRun, RebalanceRunOrder, RebalanceSchedule
from app.models.risk_covariance_cache import RiskCovarianceCache
from app.models.risk_engine import (
    AlertDecisionLog,
    DrawdownThreshold,
    EquitySnapshot,
    RiskProfile,
    SymbolRiskCategory,
)
from app.models.screener_v3 import ScreenerRun
from app.models.signal_strategies import SignalStrategy, SignalStrategyVersion
from app.models.system_event import SystemEvent
from app.models.trading import (
    Alert,
    AnalyticsTrade,
    IndicatorRule,
    ManagedRiskPosition,
    Order,
    Position,
    PositionSnapshot,
    RiskSettings,
    Strategy,
)
from app.models.tradingview_payload_templates import TradingViewAlertPayloadTemplate
from app.models.user import User

__all__ = [
    "Alert",
    "AlertDecisionLog",
    "AlertDefinition",
    "AlertEvent",
    "AnalyticsTrade",
    "BacktestRun",
    "BrokerConnection",
    "BrokerInstrument",
    "BrokerSecret",
    "Candle",
    "CustomIndicator",
    "DrawdownThreshold",
    "EquitySnapshot",
    "ExecutionPolicyState",
    "Group",
    "GroupImport",
    "GroupImportValue",
    "GroupMember",
    "HoldingGoal",
    "HoldingGoalImportPreset",
    "HoldingGoalReview",
    "IndicatorRule",
    "Listing",
    "ManagedRiskPosition",
    "MarketCalendar",
    "MarketInstrument",
    "Order",
    "OrderJob",
    "Position",
    "PositionSnapshot",
    "RebalancePolicy",
    "RebalanceRun",
    "RebalanceRunOrder",
    "RebalanceSchedule",
    "RiskCovarianceCache",
    "RiskProfile",
    "RiskSettings",
    "ScreenerRun",
    "Security",
    "SignalStrategy",
    "SignalStrategyVersion",
    "Strategy",
    "StrategyDeployment",
    "StrategyDeploymentAction",
    "StrategyDeploymentBarCursor",
    "StrategyDeploymentEventLog",
    "StrategyDeploymentJob",
    "StrategyDeploymentLock",
    "StrategyDeploymentState",
    "SymbolRiskCategory",
    "SystemEvent",
    "TradingViewAlertPayloadTemplate",
    "User",
]
