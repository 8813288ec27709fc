"""What goes on while a burst is sent: a command of the operator, or a fault."""
