"""What figures were measured on: the machine, and the versions of what ran."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import psycopg

from loadtests.stage.embedded import EmbeddedPostgres

LIBRARIES = ("sqlalchemy", "psycopg", "fastapi", "uvicorn", "alembic")


def machine(server: EmbeddedPostgres) -> dict[str, Any]:
    """What the figures were measured on, and with which versions."""
    with psycopg.connect(server.dsn()) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "postgresql": str(row[0]) if row else "",
        "pgloader": _pgloader_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _pgloader_version() -> str | None:
    program = shutil.which("pgloader")
    if program is None:
        return None
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return shown.splitlines()[0].removeprefix("pgloader version ").strip('"') if shown else None
