"""Language models: sources, loading, tokens, batches, losses, warm-up, adapters and the built-in model."""
