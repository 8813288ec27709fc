"""Limits that an order has to keep."""

from app.services.risk.limits import RiskResult, evaluate_order_risk

__all__ = ["RiskResult", "evaluate_order_risk"]
