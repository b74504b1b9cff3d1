"""Touchstone's engine: everything the app does, without any user interface."""

__version__ = "0.1.0"
