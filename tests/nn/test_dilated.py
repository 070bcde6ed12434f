"""TS2Vec's encoder: dilated convolutions that see no padding."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok.nn import DilatedConvEncoder
from ssltok.nn._dilated import DilatedBlock
from tests.nn.padded_series import (
    assert_exports_for_any_length,
    assert_missing_samples_are_not_read,
    padded_batch,
)


def small(**options: object) -> DilatedConvEncoder:
    torch.manual_seed(0)
    sizes = {"hidden_dim": 3, "depth": 3, "dropout": 0.0, **options}
    encoder = DilatedConvEncoder(2, 5, **sizes).double()  # type: ignore[arg-type]
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    return encoder


def blocks(encoder: DilatedConvEncoder) -> list[DilatedBlock]:
    return [block for block in encoder.blocks if isinstance(block, DilatedBlock)]


# Oracle ---------------------------------------------------------------------------------------


def convolve(part: nn.Conv1d, x: Tensor, dilation: int) -> Tensor:
    """Sum over taps, step by step: what lies outside is 0."""
    assert part.bias is not None
    length, taps = x.shape[2], part.weight.shape[2]
    out = part.bias[None, :, None].expand(len(x), -1, length).clone()
    for step in range(length):
        for tap in range(taps):
            place = step + dilation * (tap - taps // 2)
            if 0 <= place < length:
                out[:, :, step] += x[:, :, place] @ part.weight[:, :, tap].T
    return out


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


@pytest.mark.parametrize("length", [11, 8, 3, 1])
@pytest.mark.parametrize(("kernel_size", "hidden_dim"), [(3, 3), (5, 5), (1, 4)])
def test_it_is_the_published_network(kernel_size: int, hidden_dim: int, length: int) -> None:
    """The shortcut of the last block is a convolution, also where 5 features stay 5.

    Dilations are 1 to 8: a series of 8 sees one of them by the middle of its kernel alone.
    """
    encoder = small(kernel_size=kernel_size, hidden_dim=hidden_dim)
    x = torch.randn(2, 2, length, dtype=torch.float64)
    mask = torch.rand(2, length) < 0.5
    y = convolve(encoder.projection, x, 1)
    y = torch.where(mask[:, None], 0.0, y)
    for level, block in enumerate(blocks(encoder)):
        inner = convolve(block.first, gelu(y), 2**level)
        inner = convolve(block.second, gelu(inner), 2**level)
        assert (block.shortcut is not None) == (level == 3)
        y = inner + (y if block.shortcut is None else convolve(block.shortcut, y, 1))
    torch.testing.assert_close(encoder(x, mask=mask), y)


# Known values ---------------------------------------------------------------------------------


def test_parameters_of_the_paper() -> None:
    """Ten blocks of 64 features, one to 320, each of two convolutions with bias."""
    encoder = DilatedConvEncoder(7)
    hidden = 10 * 2 * (3 * 64 * 64 + 64)
    last = 3 * 64 * 320 + 320 + 3 * 320 * 320 + 320 + 64 * 320 + 320
    assert sum(p.numel() for p in encoder.parameters()) == 7 * 64 + 64 + hidden + last
    assert [block.first.dilation[0] for block in blocks(encoder)] == [2**i for i in range(11)]


@pytest.mark.parametrize(("kernel_size", "depth"), [(3, 2), (5, 1)])
def test_the_receptive_field(kernel_size: int, depth: int) -> None:
    encoder = small(kernel_size=kernel_size, depth=depth)
    x = torch.randn(1, 2, 101, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(encoder(x)[:, :, 50].sum(), x)
    seen = grad.abs().sum(dim=(0, 1)).nonzero().flatten()
    field = 2 * (kernel_size - 1) * (2 ** (depth + 1) - 1) + 1
    assert (seen.max() - seen.min() + 1).item() == field
    assert seen.min().item() == 50 - field // 2


# Laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [8, 9, 100, 1023, 4096])
def test_any_length(length: int) -> None:
    encoder = DilatedConvEncoder(3, 6, hidden_dim=4)
    assert encoder(torch.randn(2, 3, length)).shape == (2, 6, length)


def test_padding_cannot_leak_and_gives_what_cutting_gives() -> None:
    encoder = small()
    x, valid = padded_batch(30, 17, 8)
    leaf = x.requires_grad_()
    out = encoder(leaf, valid)
    assert (out.mT[~valid] == 0).all()
    (grad,) = torch.autograd.grad((out * torch.randn_like(out)).sum(), leaf)
    assert torch.isfinite(grad).all()
    assert (grad.mT[~valid] == 0).all()
    assert (grad.mT[valid].abs().sum(-1) > 0).all()
    for row, length in enumerate((30, 17, 8)):
        alone = encoder(x[row : row + 1, :, :length])
        torch.testing.assert_close(out[row : row + 1, :, :length], alone)
    more = functional.pad(x, (0, 31), value=torch.inf), functional.pad(valid, (0, 31))
    torch.testing.assert_close(encoder(*more)[:, :, :30], out)


def test_missing_samples_inside_are_not_read() -> None:
    assert_missing_samples_are_not_read(small())


def test_hidden_steps_are_not_read_and_still_guessed() -> None:
    encoder = small()
    x = torch.randn(2, 2, 20, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 20) < 0.5
    out = encoder(x, mask=mask)
    (grad,) = torch.autograd.grad(out.square().sum(), x)
    assert (grad.mT[mask] == 0).all()
    assert (grad.mT[~mask].abs().sum(-1) > 0).all()
    assert (out.mT[mask].abs().sum(-1) > 0).all()
    hidden = torch.where(mask[:, None], 0.0, x)
    assert not torch.allclose(out, encoder(hidden)), "a hidden step is not a sample of 0"


def test_all_real_and_none_hidden_are_the_defaults() -> None:
    encoder = small()
    x, everything = torch.randn(3, 2, 21).double(), torch.ones(3, 21, dtype=torch.bool)
    torch.testing.assert_close(encoder(x, everything, mask=~everything), encoder(x))


def test_rows_are_independent_and_every_parameter_counts() -> None:
    encoder = small()
    x = torch.randn(4, 2, 40, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(encoder(x)[1:3], encoder(x[1:3]))
    encoder(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().amax(dim=(0, 2)).min() > 1e-6
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters())


def test_dropout_acts_in_training_and_comes_from_the_generator() -> None:
    encoder, plain = small(dropout=0.25), small()
    x = torch.randn(8, 2, 500, dtype=torch.float64)
    first, second = (encoder(x, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    dropped = first == 0
    assert dropped.double().mean().item() == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(first[~dropped] * 0.75, plain(x)[~dropped])
    assert torch.equal(encoder.eval()(x), plain(x))


def test_one_graph_with_padding() -> None:
    x, valid = padded_batch(20, 14)
    mask = torch.rand(2, 20) < 0.5
    encoder = small()
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, valid, mask=mask), encoder(x, valid, mask=mask))


def test_export_for_any_length_and_padding() -> None:
    assert_exports_for_any_length(small().eval())


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    for options, message in (
        ({"hidden_dim": 0}, "hidden_dim must be >= 1; got 0"),
        ({"depth": -1}, "depth must be >= 0; got -1"),
        ({"kernel_size": 2}, "kernel_size must be odd; got 2"),
        ({"dropout": 1.5}, r"dropout must lie in \[0, 1\]; got 1.5"),
        ({"dim": 0}, "dim must be >= 1; got 0"),
        ({"in_channels": 0}, "in_channels must be >= 1; got 0"),
    ):
        with pytest.raises(ValueError, match=rf"DilatedConvEncoder: {message}"):
            DilatedConvEncoder(**{"in_channels": 2, **options})  # type: ignore[arg-type]
    encoder = small()
    with pytest.raises(ValueError, match=r"series must be \(batch, channels, length\); got shape"):
        encoder(torch.randn(2, 30))
    with pytest.raises(ValueError, match=r"series must have size 2 in dimension 1; got 3"):
        encoder(torch.randn(2, 3, 30))
    with pytest.raises(ValueError, match=r"series must be floating point; got torch.int64"):
        encoder(torch.ones(2, 2, 30, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"DilatedConvEncoder: length must be >= 1; got 0"):
        encoder(torch.randn(2, 2, 0))
    with pytest.raises(ValueError, match=r"DilatedConvEncoder: batch must be >= 1; got 0"):
        encoder(torch.randn(0, 2, 5))
    with pytest.raises(ValueError, match=r"valid must have shape \(2, 30\); got \(2, 15\)"):
        encoder(torch.randn(2, 2, 30).double(), torch.ones(2, 15, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"mask must be boolean; got torch.float32"):
        encoder(torch.randn(2, 2, 30).double(), mask=torch.ones(2, 30))
