"""`st-migrate lint`: dialect traps in code, by file and line."""
