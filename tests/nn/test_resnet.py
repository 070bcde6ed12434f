"""The residual network: the published blocks, padding that nobody sees."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from ssltok.nn import ResNet1d, mean_pool
from ssltok.nn._resnet import ConvNorm, ResidualBlock
from tests.nn.padded_series import (
    assert_exports_for_any_length,
    assert_missing_samples_are_not_read,
    padded_batch,
)


def small(**options: object) -> ResNet1d:
    """A network with statistics and weights that are not those of its start."""
    torch.manual_seed(0)
    sizes = {"widths": (4, 6, 6), "blocks": (1, 2, 1), "strides": (1, 3, 2), **options}
    encoder = ResNet1d(2, **sizes).double()  # type: ignore[arg-type]
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm1d):
            assert part.running_mean is not None
            assert part.running_var is not None
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return encoder


def lengths_of(valid: Tensor) -> list[int]:
    return [int(n) for n in valid.sum(1)]


# Oracle ---------------------------------------------------------------------------------------


def conv_norm(part: ConvNorm, x: Tensor) -> Tensor:
    """Convolve by its definition, then normalise with the running statistics."""
    weight, stride = part.convolution.weight, part.stride
    reach = weight.shape[2] // 2
    x = functional.pad(x, (reach, reach))
    tokens = (x.shape[2] - weight.shape[2]) // stride + 1
    windows = [x[:, :, stride * i : stride * i + weight.shape[2]] for i in range(tokens)]
    y = torch.stack([torch.einsum("bck,ock->bo", w, weight) for w in windows], dim=2)
    norm, column = part.norm, (slice(None), None)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    y = (y - norm.running_mean[column]) / (norm.running_var[column] + norm.eps).sqrt()
    return y * norm.weight[column] + norm.bias[column]


@pytest.mark.parametrize("length", [8, 13, 30])
def test_it_is_the_published_network(length: int) -> None:
    encoder = small(kernel_size=5, stem_kernel_size=3, stem_stride=2).eval()
    x = torch.randn(2, 2, length, dtype=torch.float64)
    y = conv_norm(encoder.stem, x).clamp(min=0)
    for block in encoder.body:
        assert isinstance(block, ResidualBlock)
        kept = y if block.shortcut is None else conv_norm(block.shortcut, y)
        inner = conv_norm(block.second, conv_norm(block.first, y).clamp(min=0))
        y = (kept + inner).clamp(min=0)
    torch.testing.assert_close(encoder(x), y)
    assert [block.shortcut is None for block in encoder.body] == [True, False, True, False]
    assert [block.first.stride for block in encoder.body] == [1, 3, 1, 2]


# Known values ---------------------------------------------------------------------------------


def test_parameters_of_resnet_18() -> None:
    """Each convolution without bias, two numbers a channel for its norm."""
    encoder = ResNet1d(3)
    assert (encoder.dim, encoder.stride) == (512, 16)

    def block(before: int, width: int) -> int:
        shortcut = 0 if before == width else before * width + 2 * width
        return 3 * before * width + 3 * width * width + 4 * width + shortcut

    stages = [(64, 64), (64, 128), (128, 256), (256, 512)]
    expected = 3 * 64 * 7 + 128 + sum(block(*s) + block(s[1], s[1]) for s in stages)
    assert sum(p.numel() for p in encoder.parameters()) == expected


@given(st.integers(1, 200), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))
def test_tokens_are_counted_and_real_if_they_hold_a_real_sample(
    length: int, stem: int, first: int, second: int
) -> None:
    encoder = ResNet1d(1, widths=(1, 1), blocks=(1, 1), strides=(first, second), stem_stride=stem)
    assert encoder.stride == stem * first * second
    assert encoder.tokens(length) == math.ceil(length / encoder.stride)
    valid = torch.rand(3, length) < 0.3
    tokens = encoder.token_valid(valid)
    assert tokens.shape == (3, encoder.tokens(length))
    for token in range(tokens.shape[1]):
        held = valid[:, token * encoder.stride : (token + 1) * encoder.stride]
        assert torch.equal(tokens[:, token], held.sum(1) > 0)


# Laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [8, 9, 100, 1023, 4096])
def test_any_length(length: int) -> None:
    encoder = ResNet1d(3, widths=(4, 8, 8), blocks=(1, 1, 1))
    for part in (encoder, encoder.eval()):
        assert part(torch.randn(2, 3, length)).shape == (2, 8, encoder.tokens(length))


@pytest.mark.parametrize("training", [False, True])
def test_padding_cannot_leak(*, training: bool) -> None:
    encoder = small().train(training)
    x, valid = padded_batch(40, 17, 8)
    leaf = x.requires_grad_()
    out = encoder(leaf, valid)
    tokens = encoder.token_valid(valid)
    assert (out.mT[~tokens] == 0).all()
    assert (out.mT[tokens].abs().sum(-1) > 0).all()
    (grad,) = torch.autograd.grad((out * torch.randn_like(out)).sum(), leaf)
    assert torch.isfinite(grad).all()
    assert (grad.mT[~valid] == 0).all()
    assert (grad.mT[valid].abs().sum(-1) > 0).all()


def test_padding_gives_what_cutting_gives() -> None:
    encoder = small().eval()
    x, valid = padded_batch(40, 17, 8)
    out = encoder(x, valid)
    for row, length in enumerate(lengths_of(valid)):
        alone = encoder(x[row : row + 1, :, :length])
        assert alone.shape[2] == encoder.token_valid(valid)[row].sum()
        torch.testing.assert_close(out[row : row + 1, :, : alone.shape[2]], alone)
    pooled = mean_pool(out, encoder.token_valid(valid))
    torch.testing.assert_close(pooled[2:], mean_pool(encoder(x[2:, :, :8]), channel_dim=1))


def test_how_much_padding_there_is_does_not_matter_in_training() -> None:
    short, long = small(), small()
    x, valid = padded_batch(25, 17, 8)
    more = functional.pad(x, (0, 31), value=torch.inf), functional.pad(valid, (0, 31))
    expected = short(x, valid)
    torch.testing.assert_close(long(*more)[:, :, : expected.shape[2]], expected)
    for key, value in short.state_dict().items():
        torch.testing.assert_close(long.state_dict()[key], value)


def test_missing_samples_inside_are_not_read() -> None:
    assert_missing_samples_are_not_read(small().eval())


def test_all_real_is_the_default() -> None:
    everything = torch.ones(3, 21, dtype=torch.bool)
    x = torch.randn(3, 2, 21, dtype=torch.float64)
    for training in (True, False):
        first, second = small().train(training), small().train(training)
        torch.testing.assert_close(first(x, everything), second(x))


def test_rows_are_independent_in_evaluation() -> None:
    encoder = small().eval()
    x, valid = padded_batch(20, 14, 9, 20)
    torch.testing.assert_close(encoder(x, valid)[1:3], encoder(x[1:3], valid[1:3]))
    x = x.nan_to_num()
    torch.testing.assert_close(encoder(x)[1:3], encoder(x[1:3]))


def test_every_channel_and_parameter_counts() -> None:
    encoder = small()
    x = torch.randn(4, 2, 30, dtype=torch.float64, requires_grad=True)
    encoder(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().amax(dim=(0, 2)).min() > 1e-6
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters())


def test_the_start_keeps_the_scale() -> None:
    """Kaiming's normal, by the fan out: variance 2 / (kernel * width)."""
    torch.manual_seed(1)
    part = ConvNorm(64, 128, 5, stride=1)
    assert part.convolution.weight.var().item() == pytest.approx(2 / (5 * 128), rel=0.03)


def test_one_graph_with_padding() -> None:
    sizes = {"widths": (3, 4), "blocks": (1, 1), "strides": (1, 2)}
    encoder, twin = small(**sizes), small(**sizes)
    x, valid = padded_batch(20, 14)
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, valid), twin(x, valid))
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(encoder.state_dict()[key], value)


def test_export_for_any_length_and_padding() -> None:
    assert_exports_for_any_length(small(widths=(3, 4), blocks=(1, 1), strides=(1, 2)).eval())


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    for options, message in (
        ({"widths": 4}, "widths must be a sequence, one for a stage; got 4"),
        ({"strides": 0}, "strides must be a sequence, one for a stage; got 0"),
        ({"widths": ()}, "stages must be >= 1; got 0"),
        ({"widths": (4,)}, r"widths, blocks and strides must be equally many; got 1, 4 and 1"),
        ({"strides": (1, 2)}, r"widths, blocks and strides must be equally many; got 4, 4 and 2"),
        ({"blocks": (1, 1, 0, 1)}, "blocks must be >= 1; got 0"),
        ({"strides": (1, 1, 0, 1)}, "strides must be >= 1; got 0"),
        ({"widths": (4, 0, 4, 4)}, "widths must be >= 1; got 0"),
        ({"kernel_size": 4}, "kernel_size must be odd; got 4"),
        ({"stem_kernel_size": -1}, "stem_kernel_size must be odd; got -1"),
        ({"stem_stride": 0}, "stem_stride must be >= 1; got 0"),
    ):
        with pytest.raises(ValueError, match=rf"ResNet1d: {message}"):
            ResNet1d(2, **options)
    with pytest.raises(ValueError, match=r"ResNet1d: in_channels must be >= 1; got 0"):
        ResNet1d(0)
    encoder = ResNet1d(2, widths=(4,), blocks=(1,))
    with pytest.raises(ValueError, match=r"series must be \(batch, channels, length\); got shape"):
        encoder(torch.randn(2, 30))
    with pytest.raises(ValueError, match=r"series must have size 2 in dimension 1; got 3"):
        encoder(torch.randn(2, 3, 30))
    with pytest.raises(ValueError, match=r"series must be floating point; got torch.int64"):
        encoder(torch.ones(2, 2, 30, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"ResNet1d: batch \* tokens must be >= 2; got 1"):
        encoder(torch.randn(1, 2, 2))
    with pytest.raises(ValueError, match=r"ResNet1d: batch \* tokens must be >= 1; got 0"):
        encoder.eval()(torch.randn(2, 2, 0))
    with pytest.raises(ValueError, match=r"valid must have shape \(2, 30\); got \(2, 15\)"):
        encoder(torch.randn(2, 2, 30), torch.ones(2, 15, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"ResNet1d: valid must be boolean; got torch.float32"):
        encoder.token_valid(torch.ones(2, 15))
