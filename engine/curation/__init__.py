"""Looking at a pool and deciding: facts, columns, areas, filters, search, audits, agreement, sheets, changes."""
