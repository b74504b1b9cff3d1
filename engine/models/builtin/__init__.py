"""The built-in model: its weights and tokenizer, and the script that made them (corpus, vocabulary, train)."""
