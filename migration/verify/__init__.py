"""Verify: every row of every table compared on both sides."""
