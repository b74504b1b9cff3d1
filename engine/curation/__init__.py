"""Looking at a pool and deciding: facts about its rows, columns, areas, filters, search, audits, agreement, sheets, changes."""
