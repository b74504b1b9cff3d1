"""The project folder: catalogue, artifacts, intake, reading, decisions, tags, audits, selections, ledger and doctor."""
