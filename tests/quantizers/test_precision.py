"""Half precision, float64, far codes, short tokens, NaN: what numbers can do to a quantizer."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    EMAVectorQuantizer,
    RandomProjectionQuantizer,
    SimVQ,
    VectorQuantizer,
    _binary_fast,
    kmeans,
    nearest_codes,
    revive_dead_codes_,
)

halves = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


# Oracle


@halves
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", [VectorQuantizer, EMAVectorQuantizer, SimVQ])
def test_a_converted_module_has_the_loss_of_its_float32_copy(
    kind: Any, masked: bool, dtype: torch.dtype
) -> None:
    """262,144 squares overflow float16 when they are added up in it."""
    narrow = kind(64, 32, generator=seeded(0)).to(dtype)
    wide = copy.deepcopy(narrow).float()
    x = normal(4096, 64, seed=1).to(dtype)
    valid = torch.arange(4096) % 3 > 0 if masked else None
    latents = x.clone().requires_grad_()
    result, expected = narrow(latents, valid), wide(x.float(), valid)
    assert result.loss.dtype == torch.float32
    assert result.vectors.dtype == dtype
    torch.testing.assert_close(result.loss, expected.loss, rtol=1e-2, atol=0)
    (1024 * result.loss).backward()
    for leaf in (latents, *narrow.parameters()):
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().sum() > 0


@halves
def test_counts_and_means_are_taken_in_float32(dtype: torch.dtype) -> None:
    narrow = EMAVectorQuantizer(4, 8, decay=0.8, generator=seeded(0)).to(dtype)
    wide = copy.deepcopy(narrow).float()
    x = normal(300, 4, seed=1).to(dtype)
    codes = narrow(x).codes
    narrow.update(x, codes)
    wide.update(x.float(), codes)
    assert narrow.counts.dtype == torch.float32
    torch.testing.assert_close(narrow.counts, wide.counts)
    assert torch.equal(narrow.weight, wide.weight.to(dtype))
    assert not torch.equal(codes.bincount(minlength=8), torch.zeros(8, dtype=torch.int64))


# Known values


def test_counts_pass_what_half_precision_holds() -> None:
    quantizer = VectorQuantizer(1, 2).half()
    quantizer.update(torch.zeros(70_000, 1).half(), torch.zeros(70_000, dtype=torch.int64))
    torch.testing.assert_close(quantizer.counts, torch.tensor([700.99, 0.99]))


def test_counts_survive_conversions() -> None:
    quantizer = VectorQuantizer(1, 2)
    quantizer.counts.copy_(torch.tensor([70_001.25, 0.1]))
    quantizer.half()
    assert quantizer.weight.dtype == torch.float16
    assert quantizer.counts.tolist() == torch.tensor([70_001.25, 0.1]).tolist()
    assert "counts" in dict(quantizer.named_buffers())
    assert quantizer.double().counts.dtype == torch.float64
    assert quantizer.bfloat16().counts.tolist() == torch.tensor([70_001.25, 0.1]).tolist()
    assert quantizer.to("meta", torch.float16).counts.device.type == "meta"
    assert quantizer.counts.dtype == torch.float32


@halves
def test_directions_in_half_precision_are_finite(dtype: torch.dtype) -> None:
    """The floor of a norm, 1e-12, is 0 in float16."""
    quantizer = VectorQuantizer(3, 4, cosine=True, generator=seeded(0)).to(dtype)
    x = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 2.0], [9.0, 9.0, 9.0]]).to(dtype)
    x.requires_grad_()
    result = quantizer(x, torch.tensor([True, True, False]))
    (result.loss + result.vectors.sum()).backward()
    assert result.loss.isfinite()
    assert x.grad is not None
    assert x.grad[1].isfinite().all()  # at 0 the slope is 1e12, which float16 does not hold
    assert x.grad[1].abs().sum() > 0
    assert (x.grad[2] == 0).all()
    with torch.no_grad():
        quantizer.weight[1] = 0
    assert quantizer.codebook.isfinite().all()


# Laws


@pytest.mark.parametrize("place", [0, 7])
@pytest.mark.parametrize("far", [1e3, 1e4, 1e5, 1e6])
def test_one_code_far_away_confuses_no_other(far: float, place: int) -> None:
    """By the mean of the codebook, 9 % of the codes were right at 1e6."""
    x, e = normal(2000, 16, seed=1), normal(512, 16)
    e[place] = far
    wide = torch.cdist(x.double(), e.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(nearest_codes(x, e), wide.argmin(dim=1))


@pytest.mark.parametrize("options", [{}, {"code_dim": 8}, {"normalize": False}])
@pytest.mark.parametrize("scale", [1e8, 1.0, 1e-3, 1e-6, 1e-9])
def test_scale_does_not_matter_to_a_random_projection(options: Any, scale: float) -> None:
    x = normal(1000, 16, seed=1).double()
    quantizer = RandomProjectionQuantizer(16, 256, generator=seeded(0), **options)
    expected = copy.deepcopy(quantizer).double().encode(x)
    assert (quantizer.encode((x * scale).float()) == expected).double().mean() > 0.999


@pytest.mark.parametrize("levels", [[5, 4], [8] * 20])  # the second has 2**60 codes
def test_nan_has_a_code_in_range(levels: list[int]) -> None:
    quantizer = FSQ(levels)
    x = torch.zeros(2, len(levels))
    x[1, 0] = torch.nan
    vectors, codes, _ = quantizer(x)
    assert vectors[1].isnan().any()
    assert 0 <= codes[1] < quantizer.codebook_size
    assert quantizer.decode(codes)[0].tolist() == vectors[0].tolist()


def test_a_search_may_count_in_other_integers() -> None:
    quantizer = VectorQuantizer(3, 4, search=lambda x, e: nearest_codes(x, e).int())
    x = normal(9, 3)
    result = quantizer(x)
    assert result.codes.dtype == torch.int64
    quantizer.update(x, result.codes)
    assert torch.equal(result.codes, quantizer.encode(x))


def test_a_regularizer_rests_in_evaluation() -> None:
    """It may wait for other processes, which need not be evaluating."""

    def one(tokens: Tensor, codebook: Tensor, valid: Tensor | None) -> Tensor:
        calls.append(len(tokens))
        return tokens.new_ones(())

    calls: list[int] = []
    x = normal(9, 3)
    quantizer = VectorQuantizer(3, 4, regularizer=one, generator=seeded(0))
    plain = VectorQuantizer(3, 4, generator=seeded(0))
    torch.testing.assert_close(quantizer(x).loss, plain(x).loss + 1)
    assert torch.equal(quantizer.eval()(x).loss, plain(x).loss)
    assert calls == [9]


@pytest.mark.parametrize("kind", [LFQ, BSQ])
def test_bits_are_summed_over_ranks_in_training_alone(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        sums.append(tensor.numel())
        return tensor

    monkeypatch.setattr(_binary_fast, "sum_over_ranks", count)
    quantizer, x = kind(3), normal(9, 3)
    quantizer.eval()(x)
    assert sums == []
    quantizer.train()(x)
    assert sums == [2**3 + 2]


# Complaints


def test_complaints() -> None:
    quantizer = VectorQuantizer(2, 3, cosine=True)
    before = copy.deepcopy(quantizer.state_dict())
    with pytest.raises(ValueError, match=r"VectorQuantizer: vectors must be floating point; got"):
        quantizer.set_codebook(torch.ones(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="VectorQuantizer: vectors must be finite; got NaN or inf"):
        quantizer.set_codebook(torch.tensor([[1.0, 0.0], [torch.nan, 0.0], [0.0, 1.0]]))
    for key, value in quantizer.state_dict().items():
        assert torch.equal(value, before[key])
    counts = torch.tensor([5, 0, 1])
    with pytest.raises(ValueError, match=r"revive_dead_codes_: counts must be floating point; got"):
        revive_dead_codes_(torch.zeros(3, 2), counts, normal(4, 2))
    x = normal(9, 2)
    with pytest.raises(TypeError, match="kmeans: initial must be a tensor; got list"):
        kmeans(x, 2, initial=[[0.0, 0.0], [1.0, 1.0]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"kmeans: initial must be floating point; got torch.int"):
        kmeans(x, 2, initial=torch.ones(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="kmeans: initial must be finite; got NaN or infinity"):
        kmeans(x, 2, initial=torch.tensor([[0.0, torch.nan], [0.0, 1.0]]))
    with pytest.raises(ValueError, match=r"FSQ: levels must be integers; got \[5.0, 5.0\]"):
        FSQ([5.0, 5.0])  # type: ignore[list-item]
