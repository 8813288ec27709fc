"""The switch: its gates, the attempt, and what a dead attempt leaves."""
