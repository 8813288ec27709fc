"""`make env`: a .env for a deployment, and the files of its secrets for compose. Needs Python alone.

A .env that is missing is made from .env.example, with generated secrets. One that exists keeps every line, because its
crypto key may be the only way to read what is stored: secrets that it lacks are added at its end. Its secrets are then
written to files in `.secrets`, which compose mounts into the containers that need them.

The owner alone may enter that folder. The files in it are readable by all, because each container reads its mounted
file as a user of its own.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ".secrets"
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


def value_of(name: str, text: str) -> str:
    """What a .env says of a setting, empty where it says nothing; the last line counts, as it does for compose."""
    found = re.findall(
        rf"^[ \t]*(?:export[ \t]+)?{name}[ \t]*=[ \t]*(.*?)[ \t\r]*$", text, flags=re.MULTILINE
    )
    value: str = found[-1] if found else ""
    if quoted := re.match(r"(['\"])(.*?)\1[ \t]*(?:#.*)?$", value):
        return quoted[2]
    return re.sub(r"(?:^|[ \t]+)#.*$", "", value)


def lacking(text: str) -> str:
    """The lines, with fresh values, of the secrets that a .env does not have; empty where it has all."""
    names = [name for name in GENERATED if not value_of(name, text)]
    return "".join(f"{name}={secrets.token_urlsafe(32)}\n" for name in names)


def write_files(folder: Path, text: str) -> list[str]:
    """Write each secret to the file of its name, without an end of line; returns the names of changed files."""
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    changed = []
    for name in GENERATED:
        file, value = folder / name.lower(), value_of(name, text)
        if not file.is_file() or file.read_text(encoding="utf-8") != value:
            file.write_text(value, encoding="utf-8")  # in place: a container that runs has this very file
            changed.append(file.name)
        file.chmod(0o644)
    return changed


def main(folder: Path = ROOT) -> int:
    """Make `.env` complete, write the files of its secrets, and say what was done."""
    target = folder / ".env"
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        text = target.read_text(encoding="utf-8")
        added = lacking(text)
        if added:
            added = added if not text or text.endswith("\n") else f"\n{added}"
            with target.open("a", encoding="utf-8") as file:
                file.write(added)
            names = ", ".join(line.partition("=")[0] for line in added.split())
            print(f"{target} lacked {names}: added with generated values; every other line stays as it was")
        else:
            print(f"{target} has every secret and stays as it is")
    else:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(filled((folder / ".env.example").read_text(encoding="utf-8")))
        print(f"{target} is written; secrets are generated, only its owner may read it")
    changed = write_files(folder / FOLDER, target.read_text(encoding="utf-8"))
    if changed:
        print(f"{folder / FOLDER}: written for compose: {', '.join(changed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
