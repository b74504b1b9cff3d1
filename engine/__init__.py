"""Touchstone's engine: data, store, models, gradients, influence, selection, maps, runs and export, without any user interface."""

__version__ = "0.1.0"
