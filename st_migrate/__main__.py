"""`python -m st_migrate` is `st-migrate`."""

from __future__ import annotations

import sys

from migration.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
