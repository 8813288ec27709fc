"""What makes the tables: the contract, the application's chain, tables of its installer, and the pair's choice."""

from app.db.revisions.source.chained import Alembic, describe, widen
from app.db.revisions.source.chosen import keep_source, make_source, recorded_source, source_of
from app.db.revisions.source.contract import Failed, SchemaSource
from app.db.revisions.source.existing import Existing

__all__ = [
    "Alembic",
    "Existing",
    "Failed",
    "SchemaSource",
    "describe",
    "keep_source",
    "make_source",
    "recorded_source",
    "source_of",
    "widen",
]
