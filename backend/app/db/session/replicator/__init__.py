"""The applier in the backend: `follower` is its thread, `commits` is what commits wait for."""

from app.db.session.replicator.commits import Replicator
from app.db.session.replicator.follower import Follower, Health

__all__ = ["Follower", "Health", "Replicator"]
