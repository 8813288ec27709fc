"""Capture and fence: the triggers on both sides, their inventory and their repair."""
