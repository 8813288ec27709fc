"""Apply: rounds that bring the shadow to a committed state of the primary."""
