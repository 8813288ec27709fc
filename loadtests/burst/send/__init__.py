"""What a burst sends, when, and the processes that send it."""
