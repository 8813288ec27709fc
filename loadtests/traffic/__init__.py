"""What is sent while a database moves, by whom, and what the senders know of it."""
