"""Codes of a whole training set, in batches, kept in the smallest type that holds them."""

import contextlib
import importlib
from typing import Any

import torch
from torch import Tensor

from ssltok._shared.modes import evaluation_mode
from ssltok._shared.portions import AT_ONCE
from ssltok._shared.ranks import sum_over_ranks
from ssltok.data import SeriesSet, SourceSet
from ssltok.distributed import rank_and_world
from ssltok.pipelines._tokenizer import Tokenizer

__all__ = ["decode_rows", "encode_rows"]

SHARED = 2**16  # series whose codes the processes put together at once


def decode_rows(tokenizer: Tokenizer, codes: Tensor) -> Tensor:
    """Series at the scale of the model, in batches, changing no state.

    Args:
        tokenizer: Put into evaluation mode for the while.
        codes: Of one length, those of `encode_rows` among them.
    """
    with torch.no_grad(), evaluation_mode(tokenizer):
        return torch.cat([tokenizer.decode(part.long()) for part in codes.split(AT_ONCE)])


def encode_rows(
    tokenizer: Tokenizer, scaled: SeriesSet | SourceSet, *, progress: bool = False
) -> Tensor:
    """Codes of scaled series, in batches, changing no state.

    Series that are not in memory are read batch by batch, each by one of the processes.

    Args:
        tokenizer: Put into evaluation mode for the while.
        scaled: At the scale of the model.
        progress: Show a bar, where there is a terminal.

    Returns:
        `(cases, tokens)` or `(cases, tokens, codes)`, -1 at padding, of the smallest signed type.
    """
    cases, several = scaled.cases, tokenizer.codes_per_token
    small = _smallest(tokenizer.codebook_size)
    shape = (sum(tokenizer.sizes),) if several == 1 else (sum(tokenizer.sizes), several)
    codes = torch.zeros((cases, *shape), dtype=small)
    rank, world = rank_and_world() if isinstance(scaled, SourceSet) else (0, 1)
    with torch.no_grad(), evaluation_mode(tokenizer), _bar(cases, progress and not rank) as bar:
        for begin in range(0, cases, SHARED):
            block = codes[begin : begin + SHARED]
            for number, first in enumerate(range(0, len(block), AT_ONCE)):
                last = min(first + AT_ONCE, len(block))
                if number % world == rank:
                    part = scaled.take(torch.arange(begin + first, begin + last))
                    codes_of = tokenizer.encode(part.values, part.lengths, part.valid)
                    block[first:last] = codes_of.to(small)
                bar.update(last - first)
            if world > 1:
                block.copy_(sum_over_ranks(block.int()))
    return codes


def _smallest(codes: int) -> torch.dtype:
    """The smallest signed type for so many codes and -1."""
    for small in (torch.int8, torch.int16, torch.int32):
        if codes - 1 <= torch.iinfo(small).max:
            return small
    return torch.int64


@contextlib.contextmanager
def _bar(cases: int, shown: bool) -> Any:  # noqa: FBT001
    bar = importlib.import_module("tqdm").tqdm(
        total=cases, desc="encoding", unit="series", disable=None if shown else True
    )
    try:
        yield bar
    finally:
        bar.close()
