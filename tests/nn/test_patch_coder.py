"""The patch coder: PCA at the start, by numpy; then what training may bend."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from ssltok.nn import PatchDecoder1d, PatchEncoder1d

SIZES: dict[str, Any] = {"length": 22, "patch": 5, "hidden_dim": 4, "blocks": 2}


def pair(dim: int = 4, channels: int = 2, **options: Any) -> tuple[PatchEncoder1d, PatchDecoder1d]:
    torch.manual_seed(0)
    sizes = SIZES | options
    encoder = PatchEncoder1d(channels, dim, **sizes).double().eval()
    return encoder, PatchDecoder1d(channels, dim, **sizes).double().eval()


def series(batch: int = 9, channels: int = 2, length: int = 22) -> Tensor:
    """Smooth, with an offset, and channels of unequal scale."""
    torch.manual_seed(1)
    x = torch.randn(batch, channels, length, dtype=torch.float64).cumsum(dim=2)
    return 3 + x * torch.tensor([1.0, 0.3, 2.0])[:channels, None]


def whole_patches(x: Tensor, valid: Tensor, patch: int) -> "np.ndarray[Any, Any]":
    rows = [
        x[b, :, first : first + patch].flatten().numpy()
        for b in range(len(x))
        for first in range(0, x.shape[2] - patch + 1, patch)
        if valid[b, first : first + patch].all()
    ]
    return np.stack(rows)


# Oracle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 4, 9])
@pytest.mark.parametrize("padded", [False, True])
def test_at_the_start_it_is_pca(dim: int, padded: bool) -> None:
    """The reconstruction of the centred patches from numpy's SVD, cut at `dim` components."""
    encoder, decoder = pair(dim)
    x = series()
    lengths = torch.tensor([22, 21, 10, 5, 4, 20, 13, 22, 7]) if padded else torch.full((9,), 22)
    valid = torch.arange(22) < lengths[:, None]
    x = x.masked_fill(~valid[:, None], torch.nan)
    rows = whole_patches(x, valid, 5)
    mean = rows.mean(0)
    u, s, vh = np.linalg.svd(rows - mean, full_matrices=False)
    expected = (u[:, :dim] * s[:dim]) @ vh[:dim] + mean
    state = {key: value.clone() for key, value in encoder.network.state_dict().items()}
    assert encoder.initialize(x, valid) is encoder
    assert decoder.initialize(encoder) is decoder
    assert all(torch.equal(state[key], v) for key, v in encoder.network.state_dict().items())
    rebuilt = decoder(encoder(x, valid))
    assert not torch.isnan(rebuilt).any()
    np.testing.assert_allclose(
        whole_patches(rebuilt.detach(), valid, 5), expected, rtol=1e-8, atol=1e-8
    )
    # one scale for all components, at which the mean variance is 1
    variances = s**2 / len(rows)
    weight = encoder.basis.weight.detach().numpy()
    np.testing.assert_allclose(
        weight @ weight.T, np.eye(dim) / variances[:dim].mean(), rtol=1e-8, atol=1e-9
    )


def test_the_network_is_the_described_layer_list() -> None:
    encoder, decoder = pair()
    for part in (encoder, decoder):
        for parameter in part.parameters():
            nn.init.normal_(parameter, std=0.5)
    encoder.mean.copy_(torch.randn(10, dtype=torch.float64))
    x = series()

    def network(state: Any, z: Tensor, last: Any) -> Tensor:
        def norm(x: Tensor) -> Tensor:
            scale, shift = next(state)[:, None], next(state)[:, None]
            normed: Tensor = x / (1 + 1e-5) ** 0.5 * scale + shift
            return normed

        x = functional.conv1d(z, next(state), next(state), padding=1)
        for dilation in (1, 3):
            inner = functional.gelu(norm(x))
            inner = functional.conv1d(
                inner, next(state), next(state), padding=dilation, dilation=dilation
            )
            x = x + functional.conv1d(functional.gelu(norm(inner)), next(state), next(state))
        out: Tensor = last(functional.gelu(norm(x)), next(state), next(state))
        assert next(state, None) is None
        return out

    state = iter(list(encoder.parameters()))
    basis = next(state)
    held = torch.cat([x, x[..., -1:].expand(-1, -1, 3)], dim=2)
    patches = [held[..., 5 * j : 5 * j + 5].flatten(1) - encoder.mean for j in range(5)]
    z = torch.stack([p @ basis.T for p in patches], dim=2)
    z = z + network(state, z, functional.conv1d)
    torch.testing.assert_close(encoder(x), z)

    state = iter(list(decoder.parameters()))
    weight, bias = next(state), next(state)
    linear = torch.cat([(z[..., j] @ weight.T + bias).view(-1, 2, 5) for j in range(5)], dim=2)

    def last(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Each place writes 2 * patch samples, which begin patch // 2 before its own."""
        out = bias[:, None].expand(len(x), -1, 40).clone()
        for j in range(x.shape[2]):
            out[..., 5 * j + 2 : 5 * j + 12] += torch.einsum("bi,iok->bok", x[..., j], weight)
        return out[..., 4:26]

    torch.testing.assert_close(decoder(z), linear[..., :22] + network(state, z, last))


# Known values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [10, 13])
def test_all_components_give_the_series_back(dim: int) -> None:
    """Components beyond those of a patch are 0, and harmless."""
    encoder, decoder = pair(dim)
    x = series()
    decoder.initialize(encoder)  # from the random basis, which is orthonormal in float32
    torch.testing.assert_close(decoder(encoder(x)), x, rtol=1e-4, atol=1e-4)
    decoder.initialize(encoder.initialize(x))
    latents = encoder(x)
    assert (latents[:, 10:] == 0).all()
    torch.testing.assert_close(decoder(latents), x)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_constant_series_have_scale_one(value: float) -> None:
    encoder, decoder = pair()
    x = torch.full((3, 2, 22), value, dtype=torch.float64)
    decoder.initialize(encoder.initialize(x))
    torch.testing.assert_close(encoder(x), torch.zeros(3, 4, 5, dtype=torch.float64))
    torch.testing.assert_close(decoder(encoder(x)), x)
    torch.testing.assert_close(encoder.basis.weight @ encoder.basis.weight.T, torch.eye(4).double())


def test_fewer_series_than_components() -> None:
    """One whole patch has rank 0: finite, and rebuilt by the mean."""
    encoder, decoder = pair(6)
    x = series(1)
    valid = torch.arange(22)[None] < 5
    decoder.initialize(encoder.initialize(x, valid))
    assert all(torch.isfinite(v).all() for v in encoder.state_dict().values())
    torch.testing.assert_close(decoder(encoder(x, valid))[..., :5], x[..., :5])


def test_gaps_repeat_the_last_real_sample() -> None:
    encoder, _ = pair(10)
    x = series(1)
    valid = torch.ones(1, 22, dtype=torch.bool)
    valid[0, [7, 8, 21]] = False
    held = x.clone()
    held[..., 7], held[..., 8], held[..., 21] = x[..., 6], x[..., 6], x[..., 20]
    torch.testing.assert_close(encoder(x, valid), encoder(held))
    valid[0, :7] = False
    held[..., :9] = 0
    torch.testing.assert_close(encoder(x, valid)[..., 2:], encoder(held)[..., 2:])


# Laws -----------------------------------------------------------------------------------------


@given(
    channels=st.integers(1, 3),
    dim=st.integers(1, 9),
    length=st.integers(1, 60),
    patch=st.integers(1, 20),
    blocks=st.integers(0, 3),
)
def test_any_size(channels: int, dim: int, length: int, patch: int, blocks: int) -> None:
    sizes: dict[str, Any] = {"length": length, "patch": patch, "hidden_dim": 3, "blocks": blocks}
    encoder = PatchEncoder1d(channels, dim, **sizes)
    decoder = PatchDecoder1d(channels, dim, **sizes)
    latents = encoder(torch.randn(2, channels, length))
    assert encoder.grid == decoder.grid == (-(-length // patch),)
    assert latents.shape == (2, dim, *encoder.grid)
    assert decoder(latents).shape == (2, channels, length)


def test_initialize_draws_nothing_and_repeats() -> None:
    first, second = pair()[0], PatchEncoder1d(2, 4, **SIZES).double()
    x = series()
    state, kept = torch.get_rng_state(), x.clone()
    first.initialize(x)
    second.initialize(x)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(x, kept)
    assert torch.equal(first.basis.weight, second.basis.weight)
    assert first.basis.weight.requires_grad
    largest = first.basis.weight.abs().argmax(dim=1, keepdim=True)
    assert (first.basis.weight.gather(1, largest) > 0).all()


def test_distances_stay_in_proportion() -> None:
    encoder, _ = pair(10)
    x = series()
    latents = encoder.initialize(x)(x)[..., :4].transpose(1, 2).flatten(0, 1)
    patches = x[..., :20].unfold(2, 5, 5).permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    ratio = torch.pdist(latents) / torch.pdist(patches)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
    assert latents.var(dim=0, correction=0).mean().item() == pytest.approx(1)


def test_the_basis_comes_from_the_generator() -> None:
    for maker in (PatchEncoder1d, PatchDecoder1d):
        first, second, other = (
            maker(2, 4, **SIZES, generator=torch.Generator().manual_seed(seed))
            for seed in (1, 1, 2)
        )
        assert torch.equal(first.basis.weight, second.basis.weight)
        assert not torch.equal(first.basis.weight, other.basis.weight)


def test_training_bends_it() -> None:
    """Two components cannot hold what the neighbours say; the networks can."""
    encoder, decoder = pair(2, 1, hidden_dim=16)
    encoder.train()
    decoder.train()
    x = torch.sin(torch.arange(22.0) + 6 * torch.rand(64, 1, 1)).double()
    decoder.initialize(encoder.initialize(x))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
    losses = []
    for _ in range(40):
        loss = (decoder(encoder(x).round()) - x).square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    for maker in (PatchEncoder1d, PatchDecoder1d):
        who = maker.__name__
        for name in ("length", "patch", "hidden_dim"):
            with pytest.raises(ValueError, match=rf"{who}: {name} must be >= 1; got 0"):
                maker(2, 4, **{**SIZES, name: 0})
        with pytest.raises(ValueError, match=rf"{who}: blocks must be >= 0; got -1"):
            maker(2, 4, **{**SIZES, "blocks": -1})
        with pytest.raises(ValueError, match=rf"{who}: in_channels must be >= 1; got 0"):
            maker(0, 4, **SIZES)
        with pytest.raises(ValueError, match=rf"{who}: dim must be >= 1; got 0"):
            maker(2, 0, **SIZES)
    encoder, decoder = pair()
    with pytest.raises(
        ValueError, match=r"PatchEncoder1d: series must have size 22 in dimension 2"
    ):
        encoder(series()[..., :20])
    with pytest.raises(ValueError, match=r"PatchEncoder1d: series must have size 2 in dimension 1"):
        encoder.initialize(series(channels=3))
    with pytest.raises(ValueError, match=r"a patch of the series must be whole; got none"):
        encoder.initialize(series(), torch.arange(22).expand(9, -1) % 4 > 0)
    with pytest.raises(ValueError, match=r"PatchDecoder1d: latents must be \(batch, dim, frames\)"):
        decoder(torch.randn(3, 4))
    with pytest.raises(ValueError, match=r"encoder must have a basis \(4, 10\); got \(5, 10\)"):
        decoder.initialize(pair(5)[0])
    single = PatchEncoder1d(1, 2, length=3, patch=4)
    with pytest.raises(ValueError, match=r"PatchEncoder1d: batch must be >= 2; got 1"):
        single(torch.randn(1, 1, 3))
