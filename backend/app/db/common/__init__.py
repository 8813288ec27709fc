"""What every other part stands on: errors, settings, URLs, metrics, failpoints."""
