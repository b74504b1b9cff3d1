"""The project folder: catalogue, artifacts, decisions and selections."""
