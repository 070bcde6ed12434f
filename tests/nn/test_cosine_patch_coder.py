from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from ssltok.nn import (
    CosinePatchDecoder1d,
    CosinePatchEncoder1d,
    cosine_patches,
    cosine_series,
)
from ssltok.nn._cosine_patch_coder import _observed_share


def moved(module: Any) -> Any:
    """The module, after its networks have left 0."""
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data += 0.1 * noise
    return module


# oracle


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_coefficients_are_those_of_scipy(patch: int, dim: int, patches: int) -> None:
    x = np.random.default_rng(patch).standard_normal((3, patches, patch))
    wanted = np.zeros((3, patches, dim))
    known = min(dim, patch)
    wanted[..., :known] = scipy.fft.dct(x, norm="ortho")[..., :known] * (dim / patch) ** 0.5
    z = cosine_patches(torch.from_numpy(x.reshape(3, -1)), patch=patch, dim=dim)
    np.testing.assert_allclose(z.numpy(), wanted, atol=1e-12)
    back = cosine_series(z, patch=patch)
    lowest = scipy.fft.idct(
        np.pad(wanted[..., :known], [(0, 0), (0, 0), (0, patch - known)]), norm="ortho"
    )
    np.testing.assert_allclose(
        back.numpy().reshape(x.shape), lowest * (patch / dim) ** 0.5, atol=1e-12
    )


def test_the_network_sees_a_patch_its_neighbours_and_no_more() -> None:
    encoder = moved(CosinePatchEncoder1d(6, length=70, patch=7, blocks=0)).double()
    x = torch.randn(1, 1, 70, dtype=torch.float64)
    changed = x.clone()
    changed[..., 35] += 1  # of patch 5
    apart = (encoder(x) - encoder(changed)).abs().amax(dim=(0, 1)) > 0
    assert apart.nonzero()[:, 0].tolist() == [4, 5, 6]


def test_by_hand() -> None:
    encoder = moved(CosinePatchEncoder1d(5, length=6, patch=3, hidden_dim=4, blocks=1)).double()
    x = torch.randn(2, 1, 6, dtype=torch.float64)
    y = cosine_patches(x[:, 0], patch=3, dim=5)
    seen = torch.cat([y, torch.ones(2, 2, 8, dtype=y.dtype)], dim=2)
    net = encoder.network

    def layer(linear: torch.nn.Linear, x: torch.Tensor, place: int) -> torch.Tensor:
        none = torch.zeros_like(x[:, 0])
        before = x[:, place - 1] if place else none
        after = x[:, place + 1] if place + 1 < x.shape[1] else none
        return torch.cat([before, x[:, place], after], dim=1) @ linear.weight.T + linear.bias

    gelu = torch.nn.functional.gelu
    h = torch.stack([gelu(layer(net.enter, seen, p)) for p in range(2)], dim=1)
    first, second = net.blocks[0]
    h = h + second(gelu(torch.stack([layer(first, h, p) for p in range(2)], dim=1)))
    wanted = y + net.leave(gelu(h))
    torch.testing.assert_close(encoder(x), wanted.transpose(1, 2))


# known values


@pytest.mark.parametrize("patch", [4, 8, 30])
def test_a_shape_has_the_same_coefficients_at_any_density(patch: int) -> None:
    """The lowest cosines of a smooth shape do not depend on how densely it is sampled."""

    def sampled(points: int) -> torch.Tensor:
        t = (torch.arange(points, dtype=torch.float64) + 0.5) / points
        return 1 + 2 * (torch.pi * t).cos() - 0.5 * (2 * torch.pi * t).cos()

    dense = cosine_patches(sampled(64)[None], patch=64, dim=16)
    torch.testing.assert_close(cosine_patches(sampled(patch)[None], patch=patch, dim=16), dense)


def test_both_are_the_identity_at_the_start() -> None:
    x = torch.randn(3, 1, 22)
    sizes = {"length": 22, "patch": 5}
    latents = CosinePatchEncoder1d(5, **sizes)(x)
    assert latents.shape == (3, 5, 5)
    torch.testing.assert_close(CosinePatchDecoder1d(5, **sizes)(latents), x)


# laws


def test_what_is_not_real_is_not_read_and_gaps_are_bridged() -> None:
    encoder = moved(CosinePatchEncoder1d(4, length=24, patch=4))
    valid = torch.ones(2, 24, dtype=torch.bool)
    valid[0, 4:13], valid[1, 13:] = False, False  # two patches of the first are missing whole
    x = torch.randn(2, 1, 24)
    hidden = torch.where(valid[:, None], x, torch.nan)
    latents = encoder(hidden, valid)
    assert torch.equal(latents, encoder(torch.where(valid[:, None], x, 9.0), valid))
    assert torch.equal(latents[1, :, 4:], torch.zeros(4, 2))  # behind the end
    assert bool((latents[0] != 0).any(dim=0).all())  # a gap has its vectors
    plain = CosinePatchEncoder1d(4, length=24, patch=4)
    line = x.clone()
    steps = torch.arange(1, 10) / 10
    line[0, 0, 4:13] = x[0, 0, 3] + steps * (x[0, 0, 13] - x[0, 0, 3])
    torch.testing.assert_close(plain(hidden, valid)[0], plain(line)[0])
    nothing = torch.zeros(2, 24, dtype=torch.bool)
    assert torch.equal(encoder(hidden, nothing), torch.zeros_like(latents))


def test_the_share_of_observed_samples_is_read() -> None:
    encoder = moved(CosinePatchEncoder1d(4, length=8, patch=4))
    flat, gap = torch.ones(1, 1, 8), torch.ones(1, 8, dtype=torch.bool)
    gap[0, 2] = False  # bridged by what is there anyway
    assert not torch.equal(encoder(flat), encoder(flat, gap))


@pytest.mark.parametrize(
    ("patch", "wanted"),
    [
        (16, [1, 0.5, 1, 1, 0, 1, 1, 1]),  # two samples a part
        (4, [1, 1, 0, 0, 1, 1, 1, 1]),  # a sample serves two parts
        (12, [0.5, 0.5, 1, 1, 1, 1, 1, 1]),  # parts overlap: sample 1 is in two
    ],
)
def test_shares_by_hand(patch: int, wanted: list[float]) -> None:
    observed = torch.ones(1, 2 * patch, dtype=torch.bool)
    hidden = {16: [3, 8, 9], 4: [1], 12: [1]}[patch]
    observed[0, hidden] = False
    share = _observed_share(observed, patch=patch)
    assert share.tolist() == [[wanted, [1.0] * 8]]


def test_resized_shares_the_weights() -> None:
    encoder, decoder = (
        moved(kind(4, length=24, patch=4)) for kind in (CosinePatchEncoder1d, CosinePatchDecoder1d)
    )
    for module in (encoder.eval(), decoder.eval()):
        other = module.resized(length=40, patch=8)
        assert (other.length, other.patch, other.grid) == (40, 8, (5,))
        assert all(a is b for a, b in zip(module.parameters(), other.parameters(), strict=True))
        assert not other.training


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (CosinePatchEncoder1d(3, length=7, patch=3, hidden_dim=4, blocks=1), (2, 1, 7)),
        (CosinePatchDecoder1d(3, length=7, patch=3, hidden_dim=4, blocks=1), (2, 3, 3)),
    ],
)
def test_gradients(module: Any, shape: tuple[int, ...]) -> None:
    module = moved(module).double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in module.named_parameters()]

    def call(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        state = dict(zip(names, values, strict=True))
        out: torch.Tensor = functional_call(module, state, (x,))
        return out

    assert torch.autograd.gradcheck(call, (x, *module.parameters()))


# complaints


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cosine_patches(torch.ones(2, 7), patch=3, dim=4), "multiple of patch, 3; got 7"),
        (lambda: cosine_patches(torch.ones(2, 0), patch=3, dim=4), "multiple of patch, 3; got 0"),
        (lambda: cosine_patches(torch.ones(2, 1, 6), patch=3, dim=4), "batch, length"),
        (lambda: cosine_patches(torch.ones(2, 6).long(), patch=3, dim=4), "floating"),
        (lambda: cosine_patches(torch.ones(2, 6), patch=0, dim=4), "patch must be >= 1"),
        (lambda: cosine_patches(torch.ones(2, 6), patch=3, dim=0), "dim must be >= 1"),
        (lambda: cosine_series(torch.ones(2, 6), patch=3), "batch, patches, dim"),
        (lambda: cosine_series(torch.ones(2, 6, 2), patch=0), "patch must be >= 1"),
        (lambda: CosinePatchEncoder1d(4, length=9, patch=0), "patch must be >= 1"),
        (lambda: CosinePatchDecoder1d(4, length=0, patch=2), "length must be >= 1"),
        (lambda: CosinePatchEncoder1d(4, length=9, patch=2, blocks=-1), "blocks must be >= 0"),
        (lambda: CosinePatchEncoder1d(4, length=9, patch=2)(torch.ones(2, 2, 9)), "size 1 in dim"),
        (
            lambda: CosinePatchDecoder1d(4, length=9, patch=2)(torch.ones(2, 4, 4)),
            "latents must have size 5",
        ),
    ],
)
def test_complaints(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
