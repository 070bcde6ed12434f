"""Does a self-supervised loss on the tokenizer give better tokens, and better new series?

The study's harness. `run` trains and measures cells (data set, arm, seed) and writes one JSON
each; `collect` joins them to a tidy CSV; `tables` and `figures` read that. All arms share the
data split, the prior, the evaluator and the seconds of training.
"""
