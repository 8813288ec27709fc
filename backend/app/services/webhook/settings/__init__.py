"""What an operator stores for the webhook: secret, routing, alert text templates."""
