"""`python -m st_migrate` is `st-migrate`.

In a checkout its two folders have common names, `app` and `migration`. They come before modules of these names
that a shell has put on PYTHONPATH. In the wheel there is nothing to do: both are inside this package.
"""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
if (_ROOT / "backend" / "app" / "db").is_dir():
    sys.path[:0] = [str(_ROOT / "backend"), str(_ROOT)]

from migration.__main__ import main  # noqa: E402 - after its place is known

if __name__ == "__main__":
    sys.exit(main())
