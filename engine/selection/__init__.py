"""Choosing subsets: sizes, strategies and the decisions they must honour."""
