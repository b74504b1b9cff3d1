"""Per-sample gradients: parameters, projections and cheap embeddings that predict them."""
