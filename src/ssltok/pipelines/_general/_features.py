"""What codes say: features of series for a classifier, a search, a clustering."""

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from ssltok.pipelines._general._codec import GeneralCodec
from ssltok.pipelines._general._coding import ROWS, decode_frames, frames_of
from ssltok.pipelines._general._frames import cut_of, level_of

__all__ = ["feature_count", "features_of"]

OUTLINE = 32  # means along the series


def feature_count(codec: GeneralCodec) -> int:
    """Features of a channel."""
    return int(codec.summary.features) + OUTLINE + 2


@torch.no_grad()
def features_of(
    codec: GeneralCodec, codes: Tensor, lengths: Tensor, *, patch: int | None, channels: int
) -> Tensor:
    """Features of codes, float32 `(cases, channels * features)`.

    Of a channel: what the summary reads off each frame, weighted by its samples; the level, as
    signed logarithm, and the logarithm of the size, likewise; and the means of 32 parts of the
    decoded series, in its units. A channel without a value has zeros.

    Args:
        codec: In evaluation mode.
        codes: As `code_set` gives them.
        lengths: int64 `(cases,)`.
        patch: As there.
        channels: Of the series.
    """
    result = torch.zeros(len(codes), channels, feature_count(codec))
    for length in lengths.unique().tolist():
        chosen, cut = (lengths == length).nonzero()[:, 0], cut_of(length, patch=patch)
        shape = (len(chosen), channels, result.shape[2] - OUTLINE)
        total, weight = result.new_zeros(shape).double(), 0.0
        series = result.new_zeros(len(chosen), channels, length).double()
        for part in frames_of(codes[chosen], cut, channels):
            flat, rows = part.codes.flatten(0, 2), (len(chosen), -1, channels)
            features = torch.cat([_of_frames(codec, some) for some in flat.split(ROWS)])
            known = (flat[:, 0, 0] >= 0).double()[:, None] * part.samples
            total += (features.double() * known).unflatten(0, rows).sum(1)
            weight = weight + known.unflatten(0, rows).sum(1)
            decoded = decode_frames(codec, flat, samples=part.samples, patch=cut.patch)
            pattern = "(cases frames channels) samples -> cases channels (frames samples)"
            decoded = rearrange(decoded, pattern, cases=len(chosen), channels=channels)
            series[..., part.first : part.first + decoded.shape[2]] = decoded
        middle = series.nanmean(dim=2, keepdim=True).nan_to_num()
        outline = functional.adaptive_avg_pool1d(series.where(~series.isnan(), middle), OUTLINE)
        mean = total / torch.as_tensor(weight).clamp(min=1)
        result[chosen] = torch.cat([mean, outline], dim=2).float()
    return result.flatten(1)


def _of_frames(codec: GeneralCodec, codes: Tensor) -> Tensor:
    features = codec.summarize(codec.quantizer.decode(codes[:, 1:]))
    offset, size = level_of(codes[:, 0].clamp(min=0))
    level = torch.stack([offset.sign() * offset.abs().log1p(), size.clamp(min=1e-18).log()], dim=1)
    return torch.cat([features, level.float()], dim=1)
