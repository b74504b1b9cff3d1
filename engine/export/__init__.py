"""Writing a selection out and making it again: plan, forms, extra fields, splits, writers, manifest, card, reproduce."""
