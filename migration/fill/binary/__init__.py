"""Rows of SQLite in COPY's binary format: `fields` says how values are packed, `rows` makes rows of them."""

from migration.fill.binary.rows import SIGNATURE, TRAILER, OutOfRange, encode_binary, supports

__all__ = ["SIGNATURE", "TRAILER", "OutOfRange", "encode_binary", "supports"]
