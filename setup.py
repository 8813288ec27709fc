"""How the wheel is built: one package, `st_migrate`, made of the two folders `backend/app/db` and `migration`.

A wheel with the top-level names `app` and `migration` would collide with the application beside which it is
installed. So the copies in the wheel are `st_migrate.db` and `st_migrate.tool`, and their import statements are
renamed while they are copied. An editable install, for those who work on this, has the folders as they are.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# Folder of the checkout, its name as a package there, and the name in the wheel.
PARTS = (
    (ROOT / "st_migrate", "st_migrate", "st_migrate"),
    (ROOT / "backend" / "app" / "db", "app.db", "st_migrate.db"),
    (ROOT / "migration", "migration", "st_migrate.tool"),
)
KEPT = {".py", ".sql", ".html", ".css", ".js", ".svg"}
MANUAL = "docs/st-migrate.1"


def renamed(text: str) -> str:
    """A module's text with the import statements of both folders under their names in the wheel."""
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for _, old, new in PARTS[1:]:
            if any(f"{name}.".startswith(f"{old}.") for name in names):
                if isinstance(node, ast.Import):
                    raise ValueError(
                        f"line {node.lineno}: write `from {old} import` or `from {old}.x import`"
                    )
                line = lines[node.lineno - 1]
                head, rest = line[: node.col_offset], line[node.col_offset :]
                lines[node.lineno - 1] = head + rest.replace(f"from {old}", f"from {new}", 1)
    return "".join(lines)


class OnePackage(build_py):
    """Copies both folders into one package."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        shutil.rmtree(Path(self.build_lib, "st_migrate"), ignore_errors=True)  # of an earlier build
        for folder, _, name in PARTS:
            to = Path(self.build_lib, *name.split("."))
            for path in sorted(folder.rglob("*")):
                if path.suffix in KEPT and "__pycache__" not in path.parts:
                    target = to / path.relative_to(folder)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    text = path.read_text(encoding="utf-8")
                    target.write_text(renamed(text) if path.suffix == ".py" else text, encoding="utf-8")


if "editable_wheel" in sys.argv:
    layout = {
        "package_dir": {"": "backend", "migration": "migration", "st_migrate": "st_migrate"},
        "packages": [
            *find_packages("backend", include=["app*"]),
            *find_packages(str(ROOT), include=["migration*", "st_migrate*"]),
        ],
    }
else:
    layout = {"packages": ["st_migrate"]}

# Two wheels of one checkout are the same file: members carry this moment, not that of the build.
os.environ.setdefault("SOURCE_DATE_EPOCH", "1577836800")  # 2020-01-01

setup(
    cmdclass={"build_py": OnePackage},
    data_files=[("share/man/man1", [MANUAL])] if (ROOT / MANUAL).is_file() else [],  # an image has no docs
    **layout,
)
