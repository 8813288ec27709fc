"""Positions: the cached rows, their history by day, and what can be sold."""
