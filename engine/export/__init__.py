"""Writing a selection out and making it again: plan, forms, extra fields, split, writers, manifest, card, reproduce."""
