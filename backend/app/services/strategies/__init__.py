"""Strategies and the expressions of their alerts."""
