"""What every part of the benchmark is measured with: sizes, databases, modes, samples."""
