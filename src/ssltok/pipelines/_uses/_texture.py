"""What tokens leave over of training series, learned after stage 1 and drawn with new series."""

import torch
from einops import rearrange
from torch import Generator, Tensor
from torch.nn import functional

from ssltok._shared.portions import AT_ONCE
from ssltok._shared.scaling import mean_and_scale
from ssltok.data import SeriesSet, SourceSet
from ssltok.metrics import RocketEncoder, polynomial_kernel
from ssltok.pipelines._large._encode_rows import decode_rows, encode_rows
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.signal import PatchTexture

__all__ = ["describe_texture", "fit_texture", "texture_of"]

HELD = 2**18  # values of training series that are held: 1 MiB
LEAST = 8  # series; fewer say nothing of how much is right
WEIGHTS = (0.0, 0.5, 1.0)
SHORTEST = 8  # samples that ROCKET needs
KERNELS = 500  # of ROCKET, which tells rebuilt series from real ones


@torch.no_grad()
def fit_texture(tokenizer: Tokenizer, scaled: SeriesSet | SourceSet, *, seed: int) -> None:
    """Hold what tokens leave over of some training series, as much as helps.

    The texture of one half of the series is added to what is rebuilt of the other half, with
    weight 0, 1/2 and 1: the weight is taken whose series are nearest to the real ones, by the
    kernel distance of ROCKET features, where no series meets what was rebuilt of itself. Then all
    series count. Nothing is held where weight 0 is best, where tokens are no patches of time, or
    where there are fewer than 8 series or samples.

    Args:
        tokenizer: Trained; its `texture` is changed in place.
        scaled: Training series at the scale of the model.
        seed: The run's seed.
    """
    tokenizer.texture = None
    if not _in_patches(tokenizer) or scaled.cases < LEAST or tokenizer.length < SHORTEST:
        return
    most = max(LEAST, HELD // (tokenizer.channels * tokenizer.length))
    some = scaled.take(torch.arange(0, scaled.cases, max(1, -(-scaled.cases // most))))
    codes = encode_rows(tokenizer, some).long()
    decoded = decode_rows(tokenizer, codes)
    rest = (some.values.nan_to_num() - decoded).masked_fill(~some.valid, 0.0)
    held, asked = torch.arange(len(codes)) % 2 == 0, torch.arange(len(codes)) % 2 == 1
    half = _texture(tokenizer, codes[held], rest[held], weight=1.0)
    real = torch.where(some.valid, some.values.nan_to_num(), 0.0)[asked]
    generator = torch.Generator().manual_seed(seed)
    grain = _as_series(tokenizer, half(_rows(tokenizer, codes[asked]), generator=generator))
    encoder = RocketEncoder(tokenizer.channels, tokenizer.length, kernels=KERNELS, seed=seed)

    def features(series: Tensor) -> Tensor:
        return torch.cat([encoder(part) for part in series.split(AT_ONCE)])

    target = features(real)
    centre, width = mean_and_scale(target, (0,), correction=1, computed_in=torch.float32)

    def distance(weight: float) -> float:
        rebuilt = (decoded[asked] + weight * grain).masked_fill(~some.valid[asked], 0.0)
        return unpaired_distance((target - centre) / width, (features(rebuilt) - centre) / width)

    weight = min(WEIGHTS, key=distance)
    if weight:
        tokenizer.texture = _texture(tokenizer, codes, rest, weight=weight)


def describe_texture(tokenizer: Tokenizer) -> str:
    """What new series get beside what their tokens say, in words."""
    if tokenizer.texture is None:
        return "new series are what their tokens say: no texture is added"
    weight = float(tokenizer.texture.weight)
    return f"new series get {weight:.0%} of the texture that tokens leave out"


def unpaired_distance(real: Tensor, rebuilt: Tensor) -> float:
    """Squared maximum mean discrepancy of as many real and rebuilt series, without bias.

    As `kernel_distance`, but no series meets what was rebuilt of itself, which is near it whatever
    the law, and the nearer the less is added.
    """
    others = ~torch.eye(len(real), dtype=torch.bool)
    between = [polynomial_kernel(x, y)[others] for x, y in
               ((real, real), (rebuilt, rebuilt), (real, rebuilt))]  # fmt: skip
    return float((between[0] + between[1] - 2 * between[2]).mean())


def texture_of(tokenizer: Tokenizer, codes: Tensor, *, generator: Generator) -> Tensor:
    """What to add to the decoded series of new codes, `(batch, channels, length)`."""
    patches: Tensor = tokenizer.texture(_rows(tokenizer, codes), generator=generator)
    return _as_series(tokenizer, patches)


def _in_patches(tokenizer: Tokenizer) -> bool:
    """Whether tokens are of equal stretches of time, one after the other."""
    branch, length = tokenizer.parts[0], tokenizer.length
    if len(tokenizer.parts) > 1 or len(branch.grid) > 1 or not tokenizer.transform.in_time:
        return False
    begins = torch.arange(branch.grid[0]) * -(-length // branch.grid[0])
    return torch.equal(branch.begins(length).to(begins.dtype), begins)


def _texture(tokenizer: Tokenizer, codes: Tensor, rest: Tensor, *, weight: float) -> PatchTexture:
    rows, patches = _rows(tokenizer, codes), _as_patches(tokenizer, rest)
    texture = PatchTexture(*patches.shape, codes=tokenizer.codes_per_token)
    return texture.fit(rows, patches, weight=weight)


def _rows(tokenizer: Tokenizer, codes: Tensor) -> Tensor:
    """Codes with a row for each series, or for each channel of it."""
    frames = tokenizer.parts[0].grid[0]
    return codes.reshape(-1, frames, *codes.shape[2:])


def _as_patches(tokenizer: Tokenizer, series: Tensor) -> Tensor:
    """Series cut as the tokens are, `(rows, tokens, values)`; the last patch ends in zeros."""
    frames = tokenizer.parts[0].grid[0]
    patch = -(-tokenizer.length // frames)
    padded = functional.pad(series, (0, frames * patch - series.shape[2]))
    if tokenizer.channelwise:
        return padded.reshape(-1, frames, patch)
    pattern = "rows channels (tokens patch) -> rows tokens (channels patch)"
    return rearrange(padded, pattern, patch=patch)


def _as_series(tokenizer: Tokenizer, patches: Tensor) -> Tensor:
    """The reverse."""
    frames, channels = tokenizer.parts[0].grid[0], tokenizer.channels
    patch = -(-tokenizer.length // frames)
    if tokenizer.channelwise:
        series = patches.reshape(-1, channels, frames * patch)
    else:
        pattern = "rows tokens (channels patch) -> rows channels (tokens patch)"
        series = rearrange(patches, pattern, channels=channels)
    return series[..., : tokenizer.length]
