"""What several subjects need: users, events, encrypted settings, bulk statements."""
