"""Choosing rows by score: sizes, who may go in, strategies, weights."""
