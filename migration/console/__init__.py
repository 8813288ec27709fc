"""The console: one local web page on which a move is watched and, if that is allowed, steered."""
