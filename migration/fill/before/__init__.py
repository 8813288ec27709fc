"""What stood before `prepare`: rows and tables of PostgreSQL, and a pair that is prepared already."""
