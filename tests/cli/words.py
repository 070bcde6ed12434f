"""Options of a model that trains in a second."""

SMALL = [
    "--steps", "2", "--tokenizer.dim", "8", "--tokenizer.blocks", "1", "--tokenizer.codebook-size",
    "6", "--tokenizer.projector-dim", "12", "--prior.dim", "16", "--prior.depth", "1", "--quiet",
]  # fmt: skip
