"""systemd accepts our units and finds them closed to what they do not need."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.operator.deploy.servers import DEPLOY
from tests.support.programs import find

UNITS = sorted(
    [
        *(DEPLOY / "systemd").glob("*"),
        *(DEPLOY / "backup").glob("*.service"),
        *(DEPLOY / "backup").glob("*.timer"),
    ]
)
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
EXPOSURE = 30  # of systemd's own hundred; 87 without any of our restrictions


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(find("systemd-analyze")), *words], capture_output=True, text=True, check=False)


def installed(folder: Path) -> list[Path]:
    """Our units as they would be installed; their programs and users are there."""
    placed = []
    for unit in UNITS:
        text = re.sub(
            r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        name = unit.name.replace("@.service", "@full.service")
        placed.append(folder / name)
        placed[-1].write_text(
            text.replace("Unit=sigmatrader-backup@incr", "Unit=sigmatrader-backup@full"), encoding="utf-8"
        )
    return placed


@pytest.mark.needs_program("systemd-analyze")
def test_systemd_accepts_every_unit_and_a_service_is_closed_to_what_it_does_not_need(tmp_path: Path) -> None:
    found = analyze("verify", "--man=no", *map(str, installed(tmp_path)))
    told = [line for line in found.stderr.splitlines() if str(tmp_path) in line or "sigmatrader" in line]
    assert told == [], found.stderr
    for unit in SERVICES:
        copy = shutil.copy(unit, tmp_path / unit.name.replace("@.", "@full."))
        found = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(copy))
        assert found.returncode == 0, (unit.name, found.stdout[-300:] + found.stderr)


def test_the_timers_ask_for_both_types_on_each_day_once() -> None:
    days = {}
    for timer in (DEPLOY / "backup").glob("*.timer"):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(timer.read_text(encoding="utf-8"))
        days[parser["Timer"]["Unit"]] = parser["Timer"]["OnCalendar"].split()[0]
        assert parser["Timer"]["Persistent"] == "yes"
    assert days == {"sigmatrader-backup@full.service": "Sun", "sigmatrader-backup@incr.service": "Mon..Sat"}
