"""One tokenizer for any series: its network, its frames, its files."""
