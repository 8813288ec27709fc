"""User classes of the load tests, and what they share within one locust process."""
