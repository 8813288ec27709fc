"""What the application does, independent of HTTP."""

from app.services.orders import create_order_from_alert

__all__ = ["create_order_from_alert"]
