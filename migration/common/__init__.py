"""What every verb shares: the two sides, outcomes, errors as one line, and what people see."""
