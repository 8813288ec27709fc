"""Sessions of an application that follow the pair of databases, see `install`."""

from app.db.session.application.install import install

__all__ = ["install"]
