"""Results out: record files, tables, the summary of a run and what the terminal shows of it."""
