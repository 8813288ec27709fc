"""What must hold in a run, measured and compared without the code that is judged."""
