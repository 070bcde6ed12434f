import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ssltok.quantizers import (
    FSQ,
    LFQ,
    EMAVectorQuantizer,
    GroupedQuantizer,
    GumbelQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    SimVQ,
    VectorQuantizer,
    kmeans,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ema_levels(levels: int, dim: int = 3, codes: int = 6) -> list[EMAVectorQuantizer]:
    return [EMAVectorQuantizer(dim, codes, decay=0.6, generator=seeded(i)) for i in range(levels)]


def vector_levels(levels: int, dim: int = 3, codes: int = 6) -> list[VectorQuantizer]:
    return [VectorQuantizer(dim, codes, generator=seeded(i)).double() for i in range(levels)]


def nearest(tokens: Tensor, codebook: Tensor) -> Tensor:
    return (tokens[:, None] - codebook).square().sum(dim=2).argmin(dim=1)


# --- oracle ---------------------------------------------------------------------------------------


@given(levels=st.integers(1, 4), tokens=st.integers(1, 12), seed=st.integers(0, 99))
def test_it_is_soundstream_s_algorithm(levels: int, tokens: int, seed: int) -> None:
    quantizers = vector_levels(levels)
    z = torch.randn(tokens, 3, generator=seeded(seed), dtype=torch.float64).requires_grad_()
    total, loss, codes = torch.zeros_like(z), torch.zeros(()).double(), []
    rest = z
    for quantizer in quantizers:
        code = nearest(rest, quantizer.weight)
        q = quantizer.weight[code]
        loss = loss + (rest.detach() - q).square().mean()
        loss = loss + 0.25 * (rest - q.detach()).square().mean()
        rest, total = rest - q.detach(), total + q.detach()
        codes.append(code)
    actual = ResidualQuantizer(quantizers)(z)
    torch.testing.assert_close(actual.vectors, total)
    assert torch.equal(actual.codes, torch.stack(codes, dim=1))
    torch.testing.assert_close(actual.loss, loss)
    leaves = [z, *(quantizer.weight for quantizer in quantizers)]
    torch.testing.assert_close(
        torch.autograd.grad(actual.loss, leaves), torch.autograd.grad(loss, leaves)
    )


def test_the_update_hands_each_level_its_rest() -> None:
    parts = ema_levels(3)
    whole = ResidualQuantizer(copy.deepcopy(parts), channel_dim=1, scales=[1.0, 0.5, 2.0])
    z = torch.randn(4, 3, 7)
    valid = torch.rand(4, 7) < 0.6
    codes = whole(z, valid).codes
    whole.update(z, codes)
    rest = z.movedim(1, -1)
    for i, (part, scale) in enumerate(zip(parts, [1.0, 0.5, 2.0], strict=True)):
        before = part.weight.clone()
        part.update(rest / scale, codes[..., i])
        rest = rest - scale * before[codes[..., i].clamp(min=0)]
        assert not torch.equal(part.weight, before)
        torch.testing.assert_close(whole.codebook[i], part.weight * scale)


def test_initialize_is_kmeans_level_by_level() -> None:
    """Each level starts from the clusters of what the levels before it leave, padding left out."""
    scales = [1.0, 0.5, 2.0]
    top, bottom = ema_levels(1)[0], VectorQuantizer(3, 4)
    whole = ResidualQuantizer([top, FSQ([5, 5, 5]), bottom], scales=scales, channel_dim=1)
    z = torch.randn(6, 3, 9, generator=seeded(1)).exp()
    valid = torch.rand(6, 9, generator=seeded(2)) < 0.6
    whole.initialize(torch.where(valid[:, None], z, torch.nan), valid, generator=seeded(3))
    rest, draws = z.movedim(1, -1)[valid], seeded(3)
    first = kmeans(rest, 6, generator=draws)
    assert torch.equal(top.weight, first.centers)
    assert torch.equal(top.counts, first.counts)
    rest = rest - first.centers[nearest(rest, first.centers)]
    rest = rest - 0.5 * FSQ([5, 5, 5])(rest / 0.5).vectors
    torch.testing.assert_close(bottom.weight.data, kmeans(rest / 2, 4, generator=draws).centers)


def test_initialize_takes_its_steps() -> None:
    part = ema_levels(1)[0]
    z = torch.randn(50, 3)
    ResidualQuantizer([part]).initialize(z, steps=1, generator=seeded(3))
    assert torch.equal(part.weight, kmeans(z, 6, steps=1, generator=seeded(3)).centers)


def test_a_shared_level_starts_once_at_its_first() -> None:
    shared = ema_levels(1)[0]
    z = torch.randn(50, 3)
    ResidualQuantizer([shared] * 3).initialize(z, generator=seeded(3))
    assert torch.equal(shared.weight, kmeans(z, 6, generator=seeded(3)).centers)


def test_revive_moves_each_level_s_dead_codes_to_its_rests() -> None:
    """Levels that samples do not reach offer no candidates; what is fixed is passed over."""
    top, middle, bottom = ema_levels(1)[0], FSQ([5, 5, 5]), ema_levels(1)[0]
    for part in (top, bottom):
        part.weight[4:] = 70.0
        part.counts.copy_(torch.tensor([9.0, 9.0, 9.0, 9.0, 0.0, 0.0]))
    whole = ResidualQuantizer(
        [top, middle, bottom], scales=[1.0, 1.0, 0.5], dropout=0.5, generator=seeded(0)
    )
    z = torch.randn(8, 5, 3)
    codes = whole(z).codes
    first, second = whole.revive(z, codes, share=0.2, generator=seeded(1))
    assert first.tolist() == second.tolist() == [False] * 4 + [True] * 2
    rest = z - top.weight[codes[..., 0]]
    rest = (rest - middle.decode(codes[..., 1])) / 0.5
    reached = codes[..., 2] >= 0
    assert 0 < reached.sum() < reached.numel()
    for part, tokens in ((top, z.reshape(-1, 3)), (bottom, rest[reached])):
        gap = (part.weight[4:, None] - tokens).abs().amax(dim=2).amin(dim=1)
        assert (gap < 1e-6).all()
    assert all(not moved.any() for moved in whole.revive(z, codes, share=0.0))


def test_a_shared_level_is_revived_once() -> None:
    shared = ema_levels(1)[0]
    shared.counts.copy_(torch.tensor([9.0, 9.0, 9.0, 9.0, 9.0, 0.0]))
    z = torch.randn(30, 3)
    whole = ResidualQuantizer([shared] * 3)
    (moved,) = whole.revive(z, whole(z).codes)
    assert moved.tolist() == [False] * 5 + [True]


# --- known values ---------------------------------------------------------------------------------


def test_halving_steps_write_binary_fractions() -> None:
    levels = [LFQ(1, entropy_weight=0.0) for _ in range(4)]
    quantizer = ResidualQuantizer(levels, scales=[0.5, 0.25, 0.125, 0.0625])
    vectors, codes, _ = quantizer(torch.tensor([[0.8], [-0.1]]))
    assert codes.tolist() == [[1, 1, 1, 0], [0, 1, 1, 1]]
    assert vectors.tolist() == [[0.8125], [-0.0625]]


def test_the_first_level_alone_is_a_coarse_decoding() -> None:
    quantizer = ResidualQuantizer(ema_levels(3))
    codes = quantizer.encode(torch.randn(5, 3))
    coarse = codes.clone()
    coarse[:, 1:] = -1
    assert torch.equal(quantizer.decode(coarse), quantizer.codebook[0][codes[:, 0]])


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_goes_straight_through_once(training: bool) -> None:
    z, weight = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    quantizer = ResidualQuantizer(ema_levels(4)).train(training)
    (grad,) = torch.autograd.grad((quantizer(z).vectors * weight).sum(), z)
    assert torch.equal(grad, weight)


def test_every_level_s_loss_reaches_the_latents() -> None:
    """Levels that are switched off one by one change the gradient; none is cut off."""
    z = torch.randn(5, 3, requires_grad=True)
    parts = ema_levels(3)
    for used in range(3):
        for i, part in enumerate(parts):
            part.commitment_weight = float(i == used)
        (grad,) = torch.autograd.grad(ResidualQuantizer(parts)(z).loss, z)
        rest = z.detach()
        for part in parts[: used + 1]:
            rest = rest - part.weight[nearest(rest, part.weight)]
        torch.testing.assert_close(grad, 2 * rest / rest.numel())


def drop(levels: int, dropout: float, *shape: int, seed: int = 0) -> Tensor:
    quantizer = ResidualQuantizer(ema_levels(levels), dropout=dropout, generator=seeded(seed))
    codes: Tensor = quantizer(torch.randn(*shape, 3)).codes
    return codes


def test_dropout_takes_the_last_levels_of_whole_samples() -> None:
    codes = drop(4, 1.0, 300, 5)
    depth = (codes >= 0).sum(dim=-1)
    assert (depth == depth[:, :1]).all()  # one depth for all tokens of a sample
    assert (codes == torch.where(torch.arange(4) < depth[..., None], codes, -1)).all()
    assert ((codes >= 0) == (torch.arange(4) < depth[..., None])).all()
    counts = torch.bincount(depth[:, 0], minlength=5)
    assert counts[0] == 0
    assert (counts[1:] - 75).abs().max() < 27  # uniform over 1 to 4, within 3.6 deviations


def test_dropout_is_a_share_of_the_samples() -> None:
    depth = (drop(3, 0.6, 2000, 1) >= 0).sum(dim=-1)
    assert abs((depth < 3).double().mean().item() - 0.6 * 2 / 3) < 0.04


def test_dropout_rests_in_evaluation_and_in_encode() -> None:
    quantizer = ResidualQuantizer(ema_levels(3), dropout=1.0)
    z = torch.randn(20, 3)
    assert (quantizer.encode(z) >= 0).all()
    assert (quantizer.eval()(z).codes >= 0).all()


def test_levels_left_out_take_no_part() -> None:
    """The loss of a level is that of the tokens that reach it; its update sees no others."""
    parts = ema_levels(2)
    whole = ResidualQuantizer(copy.deepcopy(parts), dropout=0.7, generator=seeded(3))
    z = torch.randn(40, 2, 3)
    vectors, codes, loss = whole(z)
    kept = codes[..., 1] >= 0
    assert 0 < kept[:, 0].sum() < 40
    first = parts[0](z)
    rest = z - first.vectors
    second = parts[1](rest, kept)
    torch.testing.assert_close(loss, first.loss + second.loss)
    assert torch.equal(vectors, first.vectors + second.vectors)
    whole.update(z, codes)
    parts[1].update(rest[kept], second.codes[kept])
    torch.testing.assert_close(whole.codebook[1], parts[1].weight)


def test_the_generator_alone_decides() -> None:
    state = torch.get_rng_state()
    z = torch.ones(50, 3)

    def codes(seed: int) -> Tensor:
        found: Tensor = ResidualQuantizer(ema_levels(3), dropout=0.5, generator=seeded(seed))(
            z
        ).codes
        return found

    assert torch.equal(codes(1), codes(1))
    assert not torch.equal(codes(1), codes(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_shared_level_learns_once_from_all_levels() -> None:
    shared = ema_levels(1)[0]
    alone = copy.deepcopy(shared)
    whole = ResidualQuantizer([shared] * 3)
    z = torch.randn(30, 3)
    codes = whole(z).codes
    rests, rest = [], z
    for i in range(3):
        rests.append(rest)
        rest = rest - alone.weight[codes[:, i]]
    whole.update(z, codes)
    alone.update(torch.cat(rests), codes.T.reshape(-1))
    torch.testing.assert_close(shared.codebook, alone.codebook)


def test_more_levels_leave_less() -> None:
    z = torch.randn(400, 3, generator=seeded(5))
    parts, rest, errors = ema_levels(4, codes=16), z, []
    for part in parts:
        part.initialize(rest, generator=seeded(0))
        rest = rest - part(rest).vectors
        errors.append(rest.square().mean().item())
    whole = ResidualQuantizer(parts)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]
    torch.testing.assert_close((z - whole(z).vectors).square().mean().item(), errors[-1])


def test_residual_of_groups_nests() -> None:
    def groups(seed: int) -> GroupedQuantizer:
        return GroupedQuantizer([SimVQ(2, 5, generator=seeded(seed)), SimVQ(1, 5)])

    quantizer = ResidualQuantizer([groups(0), groups(1), groups(2)], dropout=0.5)
    vectors, codes, _ = quantizer(torch.randn(4, 6, 3))
    assert codes.shape == (4, 6, 2, 3)  # groups, then levels
    assert torch.equal(quantizer.decode(codes), vectors)


def test_scaled_fsq_refines() -> None:
    z = torch.rand(500, 2, generator=seeded(0)) * 0.8 - 0.4
    errors = []
    for levels in (1, 2, 3):
        quantizer = ResidualQuantizer(
            [FSQ([9, 9]) for _ in range(levels)], scales=[4.0**-i for i in range(levels)]
        )
        errors.append((quantizer(z).vectors - z).square().mean().item())
    assert errors[2] < errors[1] / 4 < errors[0] / 16


def test_a_whole_around_projections_learns_in_all_its_parts() -> None:
    """What is refused inside belongs outside: one projection around all levels."""
    quantizer = ProjectedQuantizer(
        ResidualQuantizer([VectorQuantizer(2, 5), VectorQuantizer(2, 5)]), 6
    )
    result = quantizer(torch.randn(20, 6))
    torch.autograd.backward(result.vectors.square().sum() + result.loss)
    for name, parameter in quantizer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


# --- complaints -----------------------------------------------------------------------------------


def test_it_refuses_levels() -> None:
    with pytest.raises(ValueError, match="number of quantizers must be >= 1; got 0"):
        ResidualQuantizer([])
    with pytest.raises(TypeError, match="every part must be a quantizer; got Linear"):
        ResidualQuantizer([nn.Linear(2, 2)])
    with pytest.raises(ValueError, match=r"every part must have channel_dim=-1.*got 1"):
        ResidualQuantizer([FSQ([5], channel_dim=1)])
    with pytest.raises(ValueError, match=r"levels must share one dim; got \[1, 2\]"):
        ResidualQuantizer([FSQ([5]), FSQ([5, 5])])


@pytest.mark.parametrize(
    "level",
    [
        GumbelQuantizer(2, 5),
        ProjectedQuantizer(FSQ([5]), 2),
        GroupedQuantizer([FSQ([5]), GumbelQuantizer(1, 5)]),
    ],
    ids=lambda level: type(level).__name__,
)
def test_it_refuses_levels_that_learn_otherwise_than_the_others(level: nn.Module) -> None:
    grouped = isinstance(level, GroupedQuantizer)
    plain = GroupedQuantizer([FSQ([5]), FSQ([5])]) if grouped else FSQ([5, 5])
    with pytest.raises(
        ValueError, match=r"all levels must learn from the gradient of their vectors, or none; got"
    ):
        ResidualQuantizer([plain, level])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.5}, r"dropout must lie in \[0, 1\]; got 1.5"),
        ({"scales": [1.0]}, "scales must be as many as levels; got 1 for 2 levels"),
        ({"scales": [1.0, 0.0]}, r"min\(scales\) must be > 0; got 0.0"),
    ],
)
def test_it_refuses_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"ResidualQuantizer: {message}"):
        ResidualQuantizer([FSQ([5]), FSQ([5])], **options)  # type: ignore[arg-type]


def test_it_refuses_codes_of_another_number_of_levels() -> None:
    quantizer = ResidualQuantizer([FSQ([5]), FSQ([5])])
    with pytest.raises(ValueError, match=r"must have a last axis of 2.*got shape \(4, 3\)"):
        quantizer.decode(torch.zeros(4, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"must have a last axis of 2.*got shape \(4, 3\)"):
        quantizer.update(torch.zeros(4, 1), torch.zeros(4, 3, dtype=torch.int64))
