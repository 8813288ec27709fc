"""The story of a move under traffic, and what differs between the demo and a load run."""
