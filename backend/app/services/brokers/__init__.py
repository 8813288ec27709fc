"""Brokers: clients, and the secrets that clients need."""
