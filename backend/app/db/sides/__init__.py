"""The two sides: what both must be able to do, their bookkeeping tables, and how each does it."""
