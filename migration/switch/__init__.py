"""Cutover, rollback and the ends of the move, as commands."""
