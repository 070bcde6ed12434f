"""Series that do not fit into memory: where they are, one pass over them, and rows on demand."""
