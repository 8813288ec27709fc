"""Nobody sees the page or does something on it but the browser that was let in, from the page itself."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import httpx
import pytest
import uvicorn

from app.db.common.errors import Refused
from migration.common import sides as opened
from migration.console import actions as doing
from migration.console import run as running_console
from migration.console import server as serving
from migration.console.actions import Actions, Job
from migration.console.guard import Guard
from migration.console.run import Settings, running, serve
from migration.console.server import LARGEST
from tests.operator.console.test_watching import pair_of
from tests.operator.sides import Sides
from tests.support.pairs import wait_until

AtStage = Callable[[str], Sides]
HOST = "127.0.0.1:8765"


@contextmanager
def console(sides: Sides, *, allow_actions: bool) -> Iterator[Guard]:
    pair = pair_of(sides)
    with running(Settings(pair, lambda: opened.open_stores(pair), [HOST], allow_actions)) as guard:
        yield guard


def call(guard: Guard, method: str, path: str, **options: Any) -> httpx.Response:
    """One request to the application in this process, as a browser would send it."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(guard)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            return await client.request(method, path, **options)

    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(asyncio.run(send())))
    thread.start()
    thread.join()
    return answers[0]


def let_in(guard: Guard) -> dict[str, str]:
    answer = call(guard, "GET", f"/?token={guard.token}")
    assert answer.status_code == 303
    return {"Cookie": answer.headers["set-cookie"].split(";")[0]}


def as_page(cookie: dict[str, str]) -> dict[str, str]:
    return {**cookie, "Origin": f"http://{HOST}", "Content-Type": "application/json"}


@pytest.fixture
def seen(at_stage: AtStage) -> Iterator[tuple[Guard, Sides]]:
    sides = at_stage("verified")
    with console(sides, allow_actions=True) as guard:
        yield guard, sides


def test_the_token_opens_once_and_the_cookie_is_for_the_browser_alone(seen: tuple[Guard, Sides]) -> None:
    guard, _ = seen
    assert call(guard, "GET", "/").status_code == 403
    assert call(guard, "GET", "/?token=wrong").status_code == 403
    token = guard.token
    answer = call(guard, "GET", f"/?token={token}")
    assert "HttpOnly" in answer.headers["set-cookie"] and "SameSite=Strict" in answer.headers["set-cookie"]
    assert call(guard, "GET", f"/?token={token}").status_code == 403
    cookie = {"Cookie": answer.headers["set-cookie"].split(";")[0]}
    assert "st-migrate" in call(guard, "GET", "/", headers=cookie).text
    name = cookie["Cookie"].partition("=")[0]
    assert call(guard, "GET", "/points", headers={"Cookie": f"{name}=guess"}).status_code == 403


def test_two_consoles_of_a_host_keep_their_browser(seen: tuple[Guard, Sides]) -> None:
    guard, _ = seen
    other = Guard(guard, [HOST])
    cookies = [let_in(guard)["Cookie"], let_in(other)["Cookie"]]
    jar = dict(cookie.split("=") for cookie in cookies)  # a browser's, which knows hosts and no ports
    both = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
    assert all(call(one, "GET", "/page.js", headers=both).status_code == 200 for one in (guard, other))


def test_details_of_a_locked_file_are_a_sentence(
    seen: tuple[Guard, Sides], monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, _ = seen

    def locked(stores: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(serving, "details", locked)
    answer = call(guard, "GET", "/details", headers=let_in(guard))
    assert answer.status_code == 409 and "database is locked" in answer.json()["message"]


def test_another_host_and_another_origin_are_refused(seen: tuple[Guard, Sides]) -> None:
    guard, _ = seen
    cookie = let_in(guard)
    assert call(guard, "GET", "/", headers={**cookie, "Host": "evil.example:8765"}).status_code == 421
    good = as_page(cookie)
    plan = json.dumps({"action": "pause"})
    for wrong in ({"Origin": "http://evil.example"}, {"Origin": ""}, {"Content-Type": "text/plain"}):
        assert call(guard, "POST", "/plan", headers={**good, **wrong}, content=plan).status_code == 403
    assert call(guard, "PUT", "/plan", headers=good, content=plan).status_code == 405


def test_every_answer_forbids_foreign_content(seen: tuple[Guard, Sides]) -> None:
    guard, _ = seen
    cookie = let_in(guard)
    for path in ("/", "/page.js", "/draw.js", "/page.css", "/points", "/nothing"):
        headers = call(guard, "GET", path, headers=cookie).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY" and headers["cache-control"] == "no-store"
        text = call(guard, "GET", path, headers=cookie).text
        assert "innerHTML" not in text and "AdjacentHTML" not in text  # values go in as text
    page = call(guard, "GET", "/", headers=cookie).text
    assert " style=" not in page and "<script>" not in page and " onclick=" not in page


def test_an_action_needs_its_plan_and_the_typed_name(seen: tuple[Guard, Sides]) -> None:
    guard, sides = seen
    page = as_page(let_in(guard))
    assert call(guard, "POST", "/plan", headers=page, json={"action": "drop"}).status_code == 409
    plan = call(guard, "POST", "/plan", headers=page, json={"action": "pause"}).json()
    assert plan["command"] == "st-migrate pause" and plan["dry_run"]["command"] == "status"
    wrong = call(guard, "POST", "/do", headers=page, json={"ticket": plan["ticket"], "typed": "prod"})
    assert wrong.status_code == 409 and "not the name" in wrong.json()["message"]
    assert sides.run("resume").outcome == "already_running"
    order = {"ticket": plan["ticket"], "typed": sides.database}
    assert call(guard, "POST", "/do", headers=page, json=order).status_code == 200
    wait_until(lambda: sides.run("status").data["paused"], seconds=60)


def test_a_ticket_is_for_one_action_and_for_a_while(
    seen: tuple[Guard, Sides], monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, sides = seen
    page = as_page(let_in(guard))

    def planned() -> dict[str, str]:
        plan = call(guard, "POST", "/plan", headers=page, json={"action": "pause"}).json()
        return {"ticket": plan["ticket"], "typed": sides.database}

    def refused(order: dict[str, str]) -> str:
        answer = call(guard, "POST", "/do", headers=page, json=order)
        assert answer.status_code == 409
        return str(answer.json()["message"])

    used, other = planned(), planned()
    ended, go_on = threading.Event(), threading.Event()

    def run(actions: Actions, job: Job, words: tuple[str, ...]) -> None:
        go_on.wait(60)
        job.outcome = {}
        ended.set()

    monkeypatch.setattr(Actions, "_run", run)
    assert call(guard, "POST", "/do", headers=page, json=used).status_code == 200
    assert refused(other) == "pause is running"
    go_on.set()
    assert ended.wait(60)
    assert "look at the plan again" in refused(used)
    monkeypatch.setattr(doing, "TICKET_S", 0.0)
    assert "look at the plan again" in refused(other)


def test_a_setting_is_changed_while_another_action_runs(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = at_stage("verified")
    actions = Actions(pair_of(sides))
    go_on = threading.Event()

    def run(actions: Actions, job: Job, words: tuple[str, ...]) -> None:
        go_on.wait(60)
        job.outcome = {}

    monkeypatch.setattr(Actions, "_run", run)
    monkeypatch.setattr(Actions, "_command", lambda self, words: [sys.executable, "-c", "print('{}')"])

    def begin(name: str) -> None:
        actions.run(actions.plan(name, None, None)["ticket"], sides.database)

    begin("run")
    begin("pause")
    for name, told in (("cutover", "run is running"), ("resume", "pause is running")):
        with pytest.raises(Refused, match=told):
            begin(name)
    go_on.set()
    actions.stop()
    assert [(job["action"], job["outcome"]) for job in actions.jobs()] == [("run", {}), ("pause", {})]


def test_what_a_preflight_found_is_told(at_stage: AtStage) -> None:
    sides = at_stage("fresh")
    sides.sqlite("UPDATE alerts SET qty = 'many' WHERE id = 4")
    actions = Actions(pair_of(sides))
    actions.run(actions.plan("preflight", None, None)["ticket"], sides.database)
    actions.stop()
    (job,) = actions.jobs()
    assert job["outcome"]["outcome"] == "blocked"
    assert job["outcome"]["reasons"][0].startswith("blocks: alerts.qty ")


def test_ctrl_c_for_the_console_reaches_no_action(at_stage: AtStage, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = at_stage("verified")
    told = "import json, os; print(json.dumps({'outcome': 'told', 'message': str(os.getpgrp())}))"
    monkeypatch.setattr(Actions, "_command", lambda self, words: [sys.executable, "-c", told])
    actions = Actions(pair_of(sides))
    actions.run(actions.plan("pause", None, None)["ticket"], sides.database)
    actions.stop()
    (job,) = actions.jobs()
    assert int(job["outcome"]["message"]) != os.getpgrp()


def test_without_the_option_the_page_does_nothing(at_stage: AtStage) -> None:
    with console(at_stage("verified"), allow_actions=False) as guard:
        page = as_page(let_in(guard))
        assert call(guard, "GET", "/points", headers=page).json()["actions"] == []
        for path in ("/plan", "/do"):
            answer = call(guard, "POST", path, headers=page, json={"action": "pause"})
            assert answer.status_code == 403 and "--allow-actions" in answer.text


def test_pages_beyond_the_limit_are_told_so(
    seen: tuple[Guard, Sides], monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, _ = seen
    cookie = let_in(guard)
    monkeypatch.setattr(serving, "VIEWERS", 0)
    assert call(guard, "GET", "/events", headers=cookie).status_code == 503


def test_a_row_is_named_where_it_is_needed_and_only_there(seen: tuple[Guard, Sides]) -> None:
    guard, _ = seen
    page = as_page(let_in(guard))
    for asked in ({"action": "accept"}, {"action": "cutover", "table": "alerts", "key": "1"}):
        answer = call(guard, "POST", "/plan", headers=page, json=asked)
        assert answer.status_code == 409 and "row" in answer.json()["message"]


def test_a_rate_is_a_number_and_its_plan_changes_nothing(seen: tuple[Guard, Sides]) -> None:
    guard, sides = seen
    page = as_page(let_in(guard))
    for wrong in ({}, {"copy_rate": "fast"}, {"verify_rate": "-1"}):
        answer = call(guard, "POST", "/plan", headers=page, json={"action": "throttle", **wrong})
        assert answer.status_code == 409 and "rate" in answer.json()["message"]
    asked = {"action": "throttle", "copy_rate": "500", "verify_rate": ""}
    plan = call(guard, "POST", "/plan", headers=page, json=asked).json()
    assert plan["command"] == "st-migrate throttle --copy-rate=500"
    assert "copy: at most 500 rows" in plan["dry_run"]["message"]
    assert sides.run("throttle").data["copy_rate"] is None
    order = {"ticket": plan["ticket"], "typed": sides.database}
    assert call(guard, "POST", "/do", headers=page, json=order).status_code == 200
    wait_until(lambda: sides.run("throttle").data["copy_rate"] == 500, seconds=60)


def test_a_huge_or_broken_body_is_no_action(seen: tuple[Guard, Sides]) -> None:
    guard, _ = seen
    page = as_page(let_in(guard))
    huge = json.dumps({"action": "pause", "padding": "x" * LARGEST})
    for body, code in ((huge, 413), ("[1]", 400), ("{", 400), ("[" * 3_000, 400)):
        assert call(guard, "POST", "/plan", headers=page, content=body).status_code == code
    for key in ("a\0", "\ud800"):
        row = {"action": "retry", "table": "alerts", "key": key}
        answer = call(guard, "POST", "/plan", headers=page, content=json.dumps(row))
        assert answer.status_code == 409 and "no row" in answer.json()["message"]
    long = json.dumps({"action": "retry", "table": "alerts", "key": "x" * 20_000})
    assert call(guard, "POST", "/plan", headers=page, content=long).status_code == 200


def test_who_asks_nothing_or_half_is_not_waited_for(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_console, "BEGIN_S", 0.2)
    monkeypatch.setattr(serving, "BODY_S", 0.2)
    pair = pair_of(at_stage("fresh"))
    with socket.create_server(("127.0.0.1", 0)) as place:
        port, tokens, ended = place.getsockname()[1], queue.Queue[str](), threading.Event()
        host = f"127.0.0.1:{port}"
        settings = Settings(pair, lambda: opened.open_stores(pair), [host], allow_actions=True)
        monkeypatch.setattr(uvicorn.Server, "capture_signals", lambda self: nullcontext())
        monkeypatch.setattr(uvicorn.Server, "on_tick", lambda self, n: _true_when(ended))
        thread = threading.Thread(target=lambda: serve(settings, place, tokens.put))
        thread.start()
        try:
            token = tokens.get(timeout=60)
            begun = f"GET /?token={token} HTTP/1.1\r\nHost: {host}\r\n"
            for half in ("", begun):
                assert b"HTTP" not in _heard(port, half)
            cookie = re.search(rb"set-cookie: ([^;]+)", _heard(port, f"{begun}\r\n"))
            assert cookie
            page = (
                f"Cookie: {cookie[1].decode()}\r\nOrigin: http://{host}\r\nContent-Type: application/json\r\n"
            )
            body = "Connection: close\r\nContent-Length: 9\r\n\r\n{"
            assert b"408 " in _heard(port, f"POST /plan HTTP/1.1\r\nHost: {host}\r\n{page}{body}")
            upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            assert b"403 " in _heard(port, f"GET /events HTTP/1.1\r\nHost: {host}\r\n{upgrade}")
        finally:
            ended.set()
            thread.join(60)


async def _true_when(ended: threading.Event) -> bool:
    return ended.is_set()


def _heard(port: int, text: str) -> bytes:
    """What the console answers to some bytes, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(text.encode())
        return b"".join(iter(lambda: connection.recv(65_536), b""))
