"""Touchstone's engine: everything the app does, without any user interface."""

__version__ = "0.2.0"
