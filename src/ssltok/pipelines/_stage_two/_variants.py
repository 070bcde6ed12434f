"""Warped copies of training series, whose tokens a prior learns beside the series' own."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok.augment import magnitude_warp, time_warp
from ssltok.data import SeriesSet, SourceSet
from ssltok.pipelines._large._encode_rows import encode_rows
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._words._config import PriorConfig
from ssltok.training import keyed_generator

__all__ = ["variant_codes"]


def variant_codes(
    tokenizer: Tokenizer,
    scaled: SeriesSet | SourceSet,
    codes: Tensor,
    config: PriorConfig,
    *,
    seed: int,
) -> Callable[[Tensor, int], Tensor] | None:
    """What gives at each step the codes of the series, or of one of their warped copies."""
    if not config.variants:
        return None
    if isinstance(scaled, SourceSet):
        scaled = scaled.take(torch.arange(len(codes)))
    within = torch.arange(scaled.values.shape[-1]) < scaled.lengths[:, None]
    several = [codes.long()]
    for number in range(config.variants):
        generator, std = keyed_generator(seed, "variant-series", number), config.variant_std
        moved = time_warp(scaled.values, std=std, valid=within, generator=generator)
        moved = magnitude_warp(moved, std=std, valid=within, generator=generator)
        several.append(encode_rows(tokenizer, scaled._replace(values=moved)).long())
    stacked = torch.stack(several)

    def pick(cases: Tensor, step: int) -> Tensor:
        generator = keyed_generator(seed, "variant", step)
        return stacked[torch.randint(len(stacked), (len(cases),), generator=generator), cases]

    return pick
