"""ROCKET: the kernels of the paper, applied as a published implementation applies them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.metrics import RocketEncoder, encode


def by_formula(cases: int, length: int) -> Tensor:
    i, c, t = torch.meshgrid(*map(torch.arange, (cases, 2, length)), indexing="ij")
    i, t = i.double(), t.double()
    return (torch.sin(0.7 * i + 0.3 * t * (1 + c)) + 0.1 * torch.cos(1.9 * i * t)).float()


def with_kernels(
    length: int, kernels: list[tuple[list[int], int, float, int, bool]]
) -> RocketEncoder:
    """An encoder of two channels with these (channels, taps, bias, dilation, padded)."""
    rocket = RocketEncoder(2, length, kernels=len(kernels))
    rocket.weight.zero_()
    for k, (channels, size, bias, dilation, padded) in enumerate(kernels):
        first = (11 - size) // 2
        for channel in channels:
            taps = torch.cos(1.1 * torch.arange(size) * (channel + 1) + k)
            rocket.weight[k, channel, first : first + size] = taps
        rocket.bias[k], rocket.dilation[k], rocket.padded[k] = bias, dilation, padded
        rocket.reach[k] = (size - 1) // 2
    return rocket


def plain(x: Tensor, rocket: RocketEncoder) -> Tensor:
    """Dempster et al. 2020 by loops: slide, count positives, take the maximum."""
    rows = []
    for series in x.double():
        row = []
        for k in range(len(rocket.weight)):
            half, dilation = int(rocket.reach[k]), int(rocket.dilation[k])
            taps = rocket.weight[k, :, 5 - half : 6 + half].double()
            pad = half * dilation if rocket.padded[k] else 0
            padded = torch.nn.functional.pad(series, (pad, pad))
            out = []
            for start in range(padded.shape[1] - 2 * half * dilation):
                window = padded[:, start : start + 2 * half * dilation + 1 : dilation]
                out.append(float((window * taps).sum()) + float(rocket.bias[k]))
            row += [sum(o > 0 for o in out) / len(out), max(out)]
        rows.append(row)
    return torch.tensor(rows)


# Oracle.


def test_applies_kernels_as_aeon_does() -> None:
    """aeon 1.6.0, `_rocket._apply_kernels` on the same series and kernels."""
    rocket = with_kernels(
        40,
        [
            ([0], 7, 0.3, 1, True),
            ([0, 1], 9, -0.2, 2, False),
            ([1], 11, 0.1, 3, True),
            ([0, 1], 9, -0.4, 4, False),
        ],
    )
    # The fourth kernel of that run lists its channels as (1, 0); each keeps its own taps.
    expected = [
        [1.0, 1.3900737, 0.3333333, 2.1358767, 0.5, 2.5017252, 0.125, 0.8211232],
        [0.7, 0.9723598, 0.2916667, 2.1354535, 0.475, 2.4675145, 0.375, 2.3994915],
    ]
    torch.testing.assert_close(
        rocket(by_formula(2, 40)), torch.tensor(expected), rtol=1e-5, atol=1e-5
    )


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(8, 30))
def test_applies_its_own_kernels_as_the_loop_does(seed: int, channels: int, length: int) -> None:
    rocket = RocketEncoder(channels, length, kernels=12, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, channels, length, generator=generator)
    torch.testing.assert_close(rocket(x), plain(x, rocket), rtol=1e-4, atol=1e-5)


# Known values: the law the kernels are drawn from.


def test_kernels_have_the_papers_law() -> None:
    rocket = RocketEncoder(1, 500, kernels=6000, seed=3)
    sizes = 2 * rocket.reach + 1
    for size in (7, 9, 11):
        assert (sizes == size).double().mean().item() == pytest.approx(1 / 3, abs=0.03)
    taps = (rocket.weight != 0).sum((1, 2))
    assert torch.equal(taps, sizes)
    assert rocket.weight.sum(2).abs().max() < 1e-5
    centred = (rocket.weight.square().sum((1, 2)) / (sizes - 1)).mean()  # variance of each: 1
    assert centred.item() == pytest.approx(1, abs=0.03)
    assert rocket.bias.min() >= -1
    assert rocket.bias.max() <= 1
    assert rocket.bias.std().item() == pytest.approx(3**-0.5, abs=0.02)
    assert rocket.padded.double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert rocket.dilation.min() == 1
    assert ((sizes - 1) * rocket.dilation <= 499).all()
    most = (499 / (sizes - 1).double()).log2()
    share = (rocket.dilation == 1).double().mean().item()  # u < 1 of u in [0, most]
    assert share == pytest.approx((1 / most).mean().item(), abs=0.03)


def test_kernels_see_some_of_the_channels() -> None:
    rocket = RocketEncoder(3, 40, kernels=3000, seed=1)
    seen = (rocket.weight != 0).any(2)
    counts = seen.sum(1)
    assert counts.min() == 1
    assert counts.max() == 3
    for count in (1, 2, 3):  # 2**u < 2, 3, 4 with u uniform in [0, 2]
        expected = (torch.tensor(count + 1.0).log2() - torch.tensor(float(count)).log2()) / 2
        assert (counts == count).double().mean().item() == pytest.approx(expected.item(), abs=0.03)
    assert seen[counts == 1].double().mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.05)


# Laws.


def test_a_seed_is_an_encoder() -> None:
    a, b, c = (RocketEncoder(2, 20, kernels=8, seed=s) for s in (4, 4, 5))
    assert a.digest() == b.digest() != c.digest()
    state = torch.get_rng_state()
    RocketEncoder(1, 20)
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_and_order_do_not_matter() -> None:
    rocket, x = RocketEncoder(2, 20, kernels=16), by_formula(7, 20)
    whole = encode(rocket, x)
    torch.testing.assert_close(encode(rocket, x, batch_size=2), whole)
    torch.testing.assert_close(encode(rocket, x.flip(0)).flip(0), whole)
    torch.testing.assert_close(rocket(x.double()), whole)


def test_autocast_makes_no_other_encoder() -> None:
    rocket, x = RocketEncoder(2, 20, kernels=16), by_formula(7, 20)
    features = rocket(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rocket(x), features)


def test_short_series_get_short_kernels() -> None:
    assert RocketEncoder(1, 8, kernels=50).reach.max() == 3
    assert RocketEncoder(1, 10, kernels=50).reach.max() == 4


# Complaints.


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"^RocketEncoder: length must be >= 8; got 7$"):
        RocketEncoder(1, 7)
    with pytest.raises(ValueError, match=r"^RocketEncoder: kernels must be >= 1; got 0$"):
        RocketEncoder(1, 8, kernels=0)
    with pytest.raises(
        ValueError, match=r"must have 1 channels of length 9; got shape \(2, 1, 8\)"
    ):
        RocketEncoder(1, 9, kernels=2)(torch.zeros(2, 1, 8))
