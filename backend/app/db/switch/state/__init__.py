"""What is known of a pair without changing it: read-only checks, the last verify, lag, writable sides."""
