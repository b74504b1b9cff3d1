"""The command line: the application, how progress is shown, and one file per family of commands."""
