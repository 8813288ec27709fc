"""Deployed strategies: their queue of jobs, and the threads that fill and empty the queue."""
