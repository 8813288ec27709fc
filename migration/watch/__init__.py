"""Looking and steering: status, history, quarantine, pause."""
