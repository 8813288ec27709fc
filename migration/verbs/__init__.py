"""`st-migrate`: one short function per verb."""
