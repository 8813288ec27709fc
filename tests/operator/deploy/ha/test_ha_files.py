"""The files of deploy/ha keep the rules that they state, and agree with each other."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.operator.deploy.servers import DEPLOY
from tests.support.programs import find

HA = DEPLOY / "ha"
PATRONI: dict[str, Any] = yaml.safe_load((HA / "patroni.yml").read_text(encoding="utf-8"))
HAPROXY = (HA / "haproxy.cfg").read_text(encoding="utf-8")


def test_what_is_acknowledged_is_on_two_nodes() -> None:
    dcs = PATRONI["bootstrap"]["dcs"]
    assert dcs["synchronous_mode"] is True
    assert dcs["synchronous_mode_strict"] is True
    assert dcs["loop_wait"] + 2 * dcs["retry_timeout"] <= dcs["ttl"]


def test_no_password_stands_in_a_file() -> None:
    for path in HA.iterdir():
        assert not re.search(r"^\s*password\s*:", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_the_proxy_asks_each_node_for_its_role_at_the_port_of_its_api() -> None:
    api, server = (PATRONI[part]["listen"].partition(":")[2] for part in ("restapi", "postgresql"))
    asked = re.findall(r"server (\w+) (\w+):(\d+) check port (\d+)", HAPROXY)
    assert len(asked) == 6
    assert {(port, check) for _, _, port, check in asked} == {(server, api)}
    assert all(name == host for name, host, _, _ in asked)
    assert re.findall(r"httpchk GET (\S+)", HAPROXY) == ["/primary", "/replica"]


@pytest.mark.needs_program("haproxy")
def test_haproxy_takes_the_file(tmp_path: Path) -> None:
    program = find("haproxy")
    assert program is not None
    local = tmp_path / "haproxy.cfg"
    local.write_text(re.sub(r"(server \w+) \w+:", r"\1 127.0.0.1:", HAPROXY), encoding="utf-8")
    checked = subprocess.run([program, "-c", "-f", str(local)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
