"""Mask schedules (the share masked at each progress) and samplers of masks; True means masked."""

from ssltok.masking._blocks import MultiblockMask, block_mask, multiblock_mask, unit_mask
from ssltok.masking._gaps import gap_mask
from ssltok.masking._inverses import (
    inverse_cubic_schedule,
    inverse_exponential_schedule,
    inverse_logarithmic_schedule,
    inverse_square_root_schedule,
    inverse_square_schedule,
    resumed_schedule,
)
from ssltok.masking._random import RandomMask, random_mask, schedule_mask
from ssltok.masking._schedules import (
    arccos_schedule,
    cosine_schedule,
    cubic_schedule,
    exponential_schedule,
    linear_schedule,
    logarithmic_schedule,
    square_root_schedule,
    square_schedule,
)
from ssltok.masking._span_lengths import (
    SpanLengths,
    fixed_spans,
    normal_spans,
    poisson_spans,
    uniform_spans,
)
from ssltok.masking._spans import impute_mask, markov_mask, span_mask
from ssltok.masking._structured import (
    SplitMask,
    bert_corrupt,
    channel_mask,
    forecast_mask,
    split_mask,
)

__all__ = [
    "MultiblockMask",
    "RandomMask",
    "SpanLengths",
    "SplitMask",
    "arccos_schedule",
    "bert_corrupt",
    "block_mask",
    "channel_mask",
    "cosine_schedule",
    "cubic_schedule",
    "exponential_schedule",
    "fixed_spans",
    "forecast_mask",
    "gap_mask",
    "impute_mask",
    "inverse_cubic_schedule",
    "inverse_exponential_schedule",
    "inverse_logarithmic_schedule",
    "inverse_square_root_schedule",
    "inverse_square_schedule",
    "linear_schedule",
    "logarithmic_schedule",
    "markov_mask",
    "multiblock_mask",
    "normal_spans",
    "poisson_spans",
    "random_mask",
    "resumed_schedule",
    "schedule_mask",
    "span_mask",
    "split_mask",
    "square_root_schedule",
    "square_schedule",
    "uniform_spans",
    "unit_mask",
]
