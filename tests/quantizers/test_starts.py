"""Where quantizers start: the range of first weights, defaults, and draws that can be repeated."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ssltok.quantizers import (
    FSQ,
    EMAVectorQuantizer,
    GumbelQuantizer,
    ProjectedQuantizer,
    SimVQ,
    VectorQuantizer,
    nearest_codes,
    revive_dead_codes_,
    sample_codes,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def check_uniform(values: Tensor, bound: float) -> None:
    """Within the bound, nearly up to it, and with the variance of a uniform draw."""
    assert values.abs().max() <= bound
    assert values.abs().max() > 0.95 * bound
    assert abs(values.var().item() * 3 / bound**2 - 1) < 0.2


# Known values


@pytest.mark.parametrize("kind", [VectorQuantizer, EMAVectorQuantizer])
def test_a_codebook_starts_with_variance_one_over_dim(
    kind: Callable[..., VectorQuantizer],
) -> None:
    weight = kind(16, 4000, generator=seeded(0)).weight
    assert abs(weight.var().item() * 16 - 1) < 0.03
    assert weight.mean().abs() < 0.01


@pytest.mark.parametrize("kind", [VectorQuantizer, EMAVectorQuantizer])
def test_directions_have_length_one_from_the_start(kind: Callable[..., VectorQuantizer]) -> None:
    quantizer, ones = kind(5, 40, cosine=True), torch.ones(40)
    torch.testing.assert_close(quantizer.weight.norm(dim=1), ones)
    vectors = 7 * torch.randn(40, 5, generator=seeded(1))
    quantizer.set_codebook(vectors)
    torch.testing.assert_close(quantizer.weight.norm(dim=1), ones)
    torch.testing.assert_close(
        quantizer.weight.data, vectors / vectors.square().sum(dim=1, keepdim=True).sqrt()
    )


def test_running_means_start_as_in_the_paper() -> None:
    """Decay 0.99, and the commitment alone, with weight 0.25."""
    quantizer = EMAVectorQuantizer(3, 4, generator=seeded(0))
    x = torch.randn(20, 3, generator=seeded(1))
    vectors, codes, loss = quantizer(x)
    torch.testing.assert_close(loss, 0.25 * (x - vectors).square().mean())
    quantizer.update(x, codes)
    used = torch.bincount(codes, minlength=4)
    torch.testing.assert_close(quantizer.counts, 0.99 + 0.01 * used)


def test_projections_start_as_linear_maps_do() -> None:
    quantizer = ProjectedQuantizer(VectorQuantizer(25, 3), 400, generator=seeded(0))
    for layer, bound in ((quantizer.project_in, 1 / 20), (quantizer.project_out, 1 / 5)):
        check_uniform(layer.weight, bound)
        check_uniform(layer.bias, bound)


def test_the_map_of_simvq_starts_as_a_linear_map_does() -> None:
    check_uniform(SimVQ(100, 3, generator=seeded(0)).weight, 1 / 10)


def test_logits_start_as_a_linear_map_does() -> None:
    quantizer = GumbelQuantizer(25, 400, weight_generator=seeded(0))
    check_uniform(quantizer.to_logits.weight, 1 / 5)
    check_uniform(quantizer.to_logits.bias, 1 / 5)
    assert abs(quantizer.vectors.var().item() - 1) < 0.05


# Laws


@pytest.mark.parametrize(
    "build",
    [
        lambda g: VectorQuantizer(3, 4, generator=g),
        lambda g: ProjectedQuantizer(FSQ([5]), 3, generator=g),
        lambda g: SimVQ(3, 4, generator=g),
        lambda g: GumbelQuantizer(3, 4, weight_generator=g),
    ],
)
def test_first_weights_come_from_the_generator(
    build: Callable[[torch.Generator], nn.Module],
) -> None:
    one, same, other = (build(seeded(seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    drawn = [key for key in one if key != "counts"]
    assert not any(torch.equal(one[key], other[key]) for key in drawn)


def test_revivals_come_from_the_generator_alone() -> None:
    x = torch.randn(99, 3, generator=seeded(0))
    before = torch.get_rng_state()

    def revive(seed: int) -> Tensor:
        codebook, counts = torch.zeros(9, 3), torch.zeros(9)
        counts[0] = 1
        revive_dead_codes_(codebook, counts, x, generator=seeded(seed))
        return codebook

    assert torch.equal(revive(1), revive(1))
    assert not torch.equal(revive(1), revive(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_in_chunks_are_each_token_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    x, e = torch.randn(333, 5, generator=seeded(0)), torch.randn(9, 5, generator=seeded(1))
    monkeypatch.setattr("ssltok.quantizers._tuning.NEAREST_SCORES", {"cpu": 20 * 9})
    drawn = sample_codes(x, e, temperature=1e-9, generator=seeded(2))
    assert torch.equal(drawn, nearest_codes(x, e))
