"""Orders: their rows, how they are entered, executed, simulated and put aside for a person."""

from app.services.orders.rows import create_order_from_alert, requeue_order_to_waiting

__all__ = ["create_order_from_alert", "requeue_order_to_waiting"]
