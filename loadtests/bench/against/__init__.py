"""The same files moved by this tool and by pgloader: what an application then reads, what it can do, and how long it took."""
