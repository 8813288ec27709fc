"""`make env`: a .env for a deployment, made from .env.example, with generated secrets. Needs Python alone.

The file is readable by its owner only. A .env that exists stays as it is: its crypto key may be the only way to
read what is stored.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GENERATED = (
    "POSTGRES_PASSWORD", "BACKUP_PASS", "GRAFANA_PASSWORD",
    "ST_CRYPTO_KEY", "ST_TRADINGVIEW_WEBHOOK_SECRET", "ST_ADMIN_PASSWORD",
)  # fmt: skip


def filled(example: str) -> str:
    """The example with a fresh value for each secret; ValueError if it lacks one of the settings."""
    values = {name: secrets.token_urlsafe(32) for name in GENERATED}
    password = values["POSTGRES_PASSWORD"]
    values |= {
        "ST_SHADOW_DATABASE_URL": f"postgresql://sigma:{password}@postgres:5432/sigma",
        "ST_ADMIN_USERNAME": "admin",
        "ST_ENVIRONMENT": "prod",
    }
    for name, value in values.items():
        example, found = re.subn(rf"^{name}=.*$", f"{name}={value}", example, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"{name} stands {found} times in the example")
    return example


def main(folder: Path = ROOT) -> int:
    """Write `.env` beside `.env.example`; 1 if there is one."""
    target = folder / ".env"
    text = filled((folder / ".env.example").read_text(encoding="utf-8"))
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{target} exists and stays as it is", file=sys.stderr)
        return 1
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"{target} is written; secrets are generated, only its owner may read it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
