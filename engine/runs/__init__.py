"""Running work: intake, job folders, shards, scoring, mapping, plans and processes."""
