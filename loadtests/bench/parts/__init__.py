"""The parts of the benchmark, each with a peer or a limit that its figures are held against."""
