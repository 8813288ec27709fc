"""What is old and needed by nothing: rules, what stays all the same, and the rows themselves in batches."""
