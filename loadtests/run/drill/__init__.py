"""The restore drill: a backup is worth what comes back from it."""
