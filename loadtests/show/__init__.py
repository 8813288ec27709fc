"""What people see of runs: lines, tables, drawings, a report, the tables of the documents."""
