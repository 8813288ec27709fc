"""What an application calls: the HTTP side of an application on FastAPI, and one line for sessions of its own."""
