"""Trac through its own objects: `install URL`, `write URL N`, `read URL`. Half of its tables have no primary key on SQLite."""

import json
from pathlib import Path

from played import play
from trac.env import Environment, open_environment
from trac.perm import DefaultPermissionStore
from trac.ticket.model import Component, Ticket
from trac.web.session import DetachedSession
from trac.wiki.model import WikiPage

TABLES = {
    "ticket": "id",
    "ticket_change": "ticket, time, field",
    "wiki": "name, version",
    "permission": "username, action",
    "session_attribute": "sid, authenticated, name",
    "component": "name",
}


def start(url: str) -> Environment:
    """An environment is a folder, which names its database."""
    folder = Path(url.partition(":")[0]).absolute()
    if folder.exists():
        return open_environment(str(folder))
    database = url.replace("sqlite:///", "sqlite:")
    return Environment(str(folder), create=True, options=[("trac", "database", database)])


def write(env: Environment, number: int) -> None:
    before = env.db_query("SELECT count(*) FROM ticket")[0][0]
    for n in range(before, before + number):
        ticket = Ticket(env)
        ticket.populate({"summary": f"é {n}", "reporter": "ann", "status": "new", "description": "a\n" * n})
        ticket.insert()
        ticket["priority"] = "minor"
        ticket.save_changes("bob", f"comment {n}")
        for text in ("first", "second"):
            page = WikiPage(env, f"Page{n}")
            page.text = text
            page.save("ann", "said")
        DefaultPermissionStore(env).grant_permission(f"user{n}", "WIKI_ADMIN")
        session = DetachedSession(env, f"user{n}")
        session["name"] = f"User {n}"
        session.save()
        component = Component(env)
        component.name, component.owner = f"part {n}", "ann"
        component.insert()
    if before:  # keys change, and what is deleted has to stay deleted
        WikiPage(env, "Page0").rename(f"Page0of{before}")
        WikiPage(env, f"Page0of{before}").rename("Page0")
        DefaultPermissionStore(env).revoke_permission(f"user{before - 1}", "WIKI_ADMIN")


def read(env: Environment) -> str:
    return json.dumps(
        [[list(row) for row in env.db_query(f"SELECT * FROM {t} ORDER BY {k}")] for t, k in TABLES.items()]
    )


play(start, write, read)
