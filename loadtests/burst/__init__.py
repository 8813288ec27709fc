"""Bursts: all alerts of a closing bar within one second, and what became of each of them."""
