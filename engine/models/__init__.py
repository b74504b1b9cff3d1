"""Language models: sources, loading, tokens, batches, losses, warm-up and the built-in model."""
