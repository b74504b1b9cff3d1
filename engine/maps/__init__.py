"""The map: sentence embeddings, neighbours, layout, clusters and labels."""
