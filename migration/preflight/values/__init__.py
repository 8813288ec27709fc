"""One pass over every value of a table, for preflight."""
