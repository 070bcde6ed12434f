"""The training of the general tokenizer, and its data."""
