"""Stage 2 beside the prior itself: what it is told of a series, and how it is trained."""
