"""The receptive field against a Jacobian, with encoders that NaN cannot show or shows too wide."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok.decoding import receptive_field
from ssltok.nn import (
    ConvEncoder1d,
    DilatedConvEncoder,
    PatchEncoder1d,
    ResNet1d,
    SnakeEncoder,
    SpectrogramEncoder,
    TransformerEncoder1d,
)
from ssltok.signal import STFT

LENGTH, CHANNELS = 24, 2
Encode = Callable[[Tensor], Tensor]


def jacobian_field(encode: Encode, several: int = 60) -> Tensor:
    """Which latents have a gradient by which samples at any of the series, `(tokens, length)`."""
    found = torch.zeros(())
    for seed in range(several):
        noise = torch.Generator().manual_seed(10 + seed)
        scale = (1.0, 0.1, 3.0)[seed % 3]
        series = scale * torch.randn(1, CHANNELS, LENGTH, dtype=torch.float64, generator=noise)
        jacobian = torch.autograd.functional.jacobian(encode, series)  # (1, dim, *grid, 1, c, t)
        by = jacobian.abs().sum(dim=(0, 1, -3, -2)).flatten(0, -2)
        found = found + by
    return found > 0


def masked_attention(series: Tensor) -> Tensor:
    """Tokens that read only themselves and the one before: the others have weight 0."""
    tokens = series.transpose(1, 2)
    near = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril().triu(-1)
    scores = (tokens @ tokens.mT).masked_fill(~near, -torch.inf)
    return (scores.softmax(-1) @ tokens).mT


def banded(series: Tensor) -> Tensor:
    """Read from all samples by one product, whose matrix is mostly zero."""
    matrix = torch.randn(LENGTH, 6, generator=torch.Generator().manual_seed(0))
    band = (torch.arange(LENGTH)[:, None] - 4 * torch.arange(6)).abs() <= 3
    return series @ (matrix * band).to(series)


def zero_window(series: Tensor) -> Tensor:
    """Frames of 8 samples, every 4, under a window whose first two weights are 0."""
    window = torch.tensor([0, 0, 1, 2, 3, 2, 1, 0.5]).to(series)
    frames = series.unfold(2, 8, 4) * window
    return torch.cat([frames.sum(-1), frames.square().sum(-1)], dim=1)


def filled(series: Tensor) -> Tensor:
    """Take missing values for zeros, before anything else."""
    return functional.avg_pool1d(torch.nan_to_num(series), 3, 2)


def clipped(series: Tensor) -> Tensor:
    """Cut off what is far, and let through what is positive only."""
    return functional.max_pool1d(series.clamp(-2, 2).relu() + 0.01 * series, 4, 4)


def gated(series: Tensor) -> Tensor:
    """Let a sample through where the next one is large: a series shows few of the ways."""
    return torch.relu(series.roll(-1, dims=2) - 0.7) * series


def of_module(make: Callable[[], nn.Module]) -> Encode:
    torch.manual_seed(0)
    return make().double().eval()


TRUNK: dict[str, Any] = {"length": LENGTH, "patch": 4, "hidden_dim": 8, "depth": 1, "heads": 2}
ENCODERS: dict[str, Callable[[], Encode]] = {
    "masked attention": lambda: masked_attention,
    "banded matrix": lambda: banded,
    "window with zeros": lambda: zero_window,
    "nan_to_num": lambda: filled,
    "clipped": lambda: clipped,
    "gated": lambda: gated,
    "half": lambda: lambda series: torch.cat([series[..., :1], 0 * series[..., 1:2]], dim=2),
    "DilatedConvEncoder": lambda: of_module(
        lambda: DilatedConvEncoder(2, 4, hidden_dim=3, depth=1)
    ),
    "ResNet1d": lambda: of_module(
        lambda: ResNet1d(2, widths=(8,), blocks=(1,), strides=(2,), kernel_size=3,
                         stem_kernel_size=3, stem_stride=1)
    ),
    "ConvEncoder1d": lambda: of_module(
        lambda: ConvEncoder1d(2, 4, length=LENGTH, width=6, hidden_dim=8, blocks=1)
    ),
    "PatchEncoder1d": lambda: of_module(lambda: PatchEncoder1d(2, 4, length=LENGTH, patch=4)),
    "TransformerEncoder1d": lambda: of_module(lambda: TransformerEncoder1d(2, 4, **TRUNK)),
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODERS)
def test_it_is_where_the_jacobian_is_not_zero(name: str) -> None:
    encode = ENCODERS[name]()
    field = receptive_field(encode, channels=CHANNELS, length=LENGTH, chunk=7, dtype=torch.float64)
    assert torch.equal(field, jacobian_field(encode))


@pytest.mark.parametrize("kind", [SpectrogramEncoder, SnakeEncoder])
def test_a_spectrogram_and_its_encoder(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    stft = STFT(n_fft=4, hop=2)
    frames = stft(torch.zeros(1, CHANNELS, LENGTH)).shape[-1]
    encoder = kind(2 * CHANNELS, 4, bins=3, frames=frames, width=frames).double().eval()
    both = nn.Sequential(stft.double(), encoder)
    field = receptive_field(both, channels=CHANNELS, length=LENGTH, dtype=torch.float64)
    assert torch.equal(field, jacobian_field(both, several=8))


def test_what_a_field_lets_stand_does_not_leak() -> None:
    """The reason for it: change whatever is hidden, and the visible latents keep every bit."""
    series = torch.randn(1, CHANNELS, LENGTH, generator=torch.Generator().manual_seed(5))
    for encode in (filled, zero_window, masked_attention):
        field = receptive_field(encode, channels=CHANNELS, length=LENGTH)
        for step in range(LENGTH):
            other = series.clone()
            other[..., step] = 30.0
            seen = ~field[:, step]
            assert torch.equal(encode(series)[..., seen], encode(other)[..., seen])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_encoder_gets_the_dtype_asked_for_and_no_number_is_drawn(dtype: torch.dtype) -> None:
    before = torch.get_rng_state()
    encoder = nn.Conv1d(2, 3, 3, stride=2, dtype=dtype)
    torch.set_rng_state(before)
    field = receptive_field(encoder, channels=2, length=7, dtype=dtype)
    assert field.int().tolist() == [
        [1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1]
    ]  # fmt: skip
    assert torch.equal(before, torch.get_rng_state())


def test_an_encoder_that_draws_or_breaks_is_refused() -> None:
    said = r"^receptive_field: encode must return the same numbers for the same series; got others"
    with pytest.raises(ValueError, match=said):
        receptive_field(lambda x: functional.dropout(x), channels=1, length=4)
    with pytest.raises(ValueError, match=said):
        receptive_field(lambda x: x.log(), channels=1, length=4)
