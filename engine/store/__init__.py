"""The project folder: catalogue, artifacts, intake, reading, decisions, selections, ledger and doctor."""
