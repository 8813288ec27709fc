"""Filling PostgreSQL: prepare, backfill, and the worker that applies."""
