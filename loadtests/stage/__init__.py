"""What a run stands on: the embedded server, backends, calls of st-migrate, facts about the machine."""
