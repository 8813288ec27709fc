"""JupyterHub through its own objects: `install URL`, `write URL N`, `read URL`, `serve URL`."""

import json
import os
from datetime import timedelta

from jupyterhub import orm, roles
from played import play
from sqlalchemy import inspect

if os.environ.get("ST_SHADOW_DATABASE_URL"):  # these lines belong into jupyterhub_config.py
    from st_migrate import install

    made = orm.new_session_factory
    orm.new_session_factory = lambda *urls, **options: install(made(*urls, **options))


def start(url: str) -> orm.Session:
    """As the hub does: one session for its whole life."""
    db = orm.new_session_factory(url)()
    for role in roles.get_default_roles():
        roles.create_role(db, role)
    if not db.query(orm.OAuthClient).filter_by(identifier="jupyterhub").first():
        db.add(orm.OAuthClient(identifier="jupyterhub", description="the hub"))
        db.commit()
    return db


def write(db: orm.Session, number: int) -> None:
    group = orm.Group.find(db, "all") or orm.Group(name="all", properties={"quota": 1.5})
    before = db.query(orm.User).count()
    for n in range(before, before + number):
        user = orm.User(name=f"user{n} é", admin=n % 2 == 0, encrypted_auth_state=bytes([0, n % 256, 255]))
        db.add(user)
        user.groups.append(group)
        roles.assign_default_roles(db, user)
        token = user.new_api_token(note=f"token {n}", expires_in=3600 + n)
        assert orm.APIToken.find(db, token).user is user
        spawner = orm.Spawner(
            name="", user=user, state={"pid": n, "facts": [1, 2.5, None]}, started=user.created
        )
        db.add(spawner)
        spawner.server = orm.Server(ip="127.0.0.1", port=8000 + n)
        spawner.last_activity = user.created + timedelta(microseconds=n)
        db.commit()
        if n:
            orm.Share.grant(db, spawner, group)
    if before:  # what is deleted has to stay deleted, with what hangs on it
        db.delete(db.query(orm.APIToken).order_by(orm.APIToken.id).first())
        db.delete(db.query(orm.Spawner).order_by(orm.Spawner.id).first())
    db.commit()


def read(db: orm.Session) -> str:
    db.expire_all()
    kinds = (orm.User, orm.Group, orm.Role, orm.Spawner, orm.Server, orm.APIToken, orm.Share)
    found = [
        [
            [repr(getattr(one, attribute.key)) for attribute in inspect(kind).column_attrs]
            for one in db.query(kind).order_by(kind.id)
        ]
        for kind in kinds
    ]
    owned = [
        (u.name, [g.name for g in u.groups], len(u.api_tokens), len(u.roles)) for u in db.query(orm.User)
    ]
    return json.dumps([found, sorted(owned)])


play(start, write, read)
