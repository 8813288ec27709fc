"""What the session layer adds to the HTTP application."""

from __future__ import annotations

from fastapi import FastAPI


def install(app: FastAPI) -> None:
    """Register the session layer's routes and handlers on the application."""
