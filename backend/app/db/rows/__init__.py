"""Rows and values: the tables of both sides, each value's canonical form, and rows that one side cannot hold."""
