"""The map: sentence embeddings, neighbours, a seeded layout, clusters and their labels, and their saved form."""
