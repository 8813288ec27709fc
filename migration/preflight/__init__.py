"""Preflight: what would block the move or change a value's meaning, found before it starts."""
