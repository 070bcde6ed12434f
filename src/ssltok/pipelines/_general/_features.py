"""What codes say: features of series for a classifier, a search, a clustering."""

import torch
from torch import Tensor

from ssltok.pipelines._general._codec import GeneralCodec
from ssltok.pipelines._general._coding import ROWS, channels_of, frames_of
from ssltok.pipelines._general._frames import cut_of, level_of

__all__ = ["feature_count", "features_of"]


def feature_count(codec: GeneralCodec) -> int:
    """Features of a channel."""
    return int(codec.summary.features + codec.summary.places + 2)


@torch.no_grad()
def features_of(
    codec: GeneralCodec, codes: Tensor, lengths: Tensor, *, patch: int | None
) -> Tensor:
    """Features of codes, float32 `(cases, channels * features)`.

    Of a channel: what the summary reads off each frame, weighted by its samples, then level and
    logarithm of the size. A channel without a value has zeros.

    Args:
        codec: In evaluation mode.
        codes: As `code_set` gives them.
        lengths: int64 `(cases,)`.
        patch: As there.
    """
    channels, size = channels_of(codes, lengths, patch=patch), feature_count(codec)
    result = torch.zeros(len(codes), channels, size)
    for length in lengths.unique().tolist():
        chosen = (lengths == length).nonzero()[:, 0]
        total = torch.zeros(len(chosen), channels, size, dtype=torch.float64)
        weight = torch.zeros(len(chosen), channels, 1, dtype=torch.float64)
        for part in frames_of(codes[chosen], cut_of(length, patch=patch), channels):
            flat = part.codes.flatten(0, 2)
            features = torch.cat([_frame_features(codec, some) for some in flat.split(ROWS)])
            known = (flat[:, 0, 0] >= 0).double()[:, None] * part.samples
            shape = (len(chosen), -1, channels)
            total += (features.double() * known).unflatten(0, shape).sum(1)
            weight += known.unflatten(0, shape).sum(1)
        result[chosen] = (total / weight.clamp(min=1)).float()
    return result.flatten(1)


def _frame_features(codec: GeneralCodec, codes: Tensor) -> Tensor:
    summarized = codec.summarize(codec.quantizer.decode(codes[:, 1:]))
    offset, size = level_of(codes[:, 0].clamp(min=0))
    level = torch.stack([offset.sign() * offset.abs().log1p(), size.clamp(min=1e-18).log()], dim=1)
    return torch.cat([*summarized, level.float()], dim=1)
