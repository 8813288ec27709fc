"""`make bench`: what moving and serving costs, every figure a ratio to a peer or a limit of the same run."""
