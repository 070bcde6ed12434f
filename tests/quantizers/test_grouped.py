import copy

import pytest
import torch
from torch import Tensor

from ssltok.quantizers import (
    FSQ,
    LFQ,
    EMAVectorQuantizer,
    GroupedQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
    kmeans,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spread(part: EMAVectorQuantizer) -> Tensor:
    return part.weight.detach().clone()


# --- oracle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_each_group_is_its_quantizer_alone(training: bool) -> None:
    parts = [VectorQuantizer(3, 5, generator=seeded(0)), LFQ(2, temperature=1.0), FSQ([5])]
    whole = GroupedQuantizer(copy.deepcopy(parts)).train(training)
    z = torch.randn(4, 7, 6)
    valid = torch.rand(4, 7) < 0.6
    vectors, codes, loss = whole(z, valid)
    alone = [
        part.train(training)(own, valid)
        for part, own in zip(parts, torch.split(z, [3, 2, 1], dim=2), strict=True)
    ]
    assert torch.equal(vectors, torch.cat([result.vectors for result in alone], dim=2))
    assert torch.equal(codes, torch.stack([result.codes for result in alone], dim=-1))
    torch.testing.assert_close(loss, (alone[0].loss + alone[1].loss + alone[2].loss) / 3)


def test_the_update_reaches_each_group() -> None:
    parts = [EMAVectorQuantizer(2, 5, decay=0.6, generator=seeded(i)) for i in range(3)]
    whole = GroupedQuantizer(copy.deepcopy(parts), channel_dim=1)
    z = torch.randn(4, 6, 7)
    valid = torch.rand(4, 7) < 0.6
    codes = whole(z, valid).codes
    whole.update(z, codes)
    for i, part in enumerate(parts):
        part.update(z[:, 2 * i : 2 * i + 2].movedim(1, -1), codes[..., i])
        assert torch.equal(part.codebook, whole.codebook[i])


def test_initialize_and_revive_reach_each_group() -> None:
    front, back = EMAVectorQuantizer(2, 5), VectorQuantizer(3, 4)
    whole = GroupedQuantizer([front, LFQ(1), back], channel_dim=1)
    z = torch.randn(6, 6, 9, generator=seeded(1)).exp()
    valid = torch.rand(6, 9, generator=seeded(2)) < 0.6
    whole.initialize(torch.where(valid[:, None], z, torch.nan), valid, generator=seeded(3))
    rows, draws = z.movedim(1, -1)[valid], seeded(3)
    assert torch.equal(front.weight, kmeans(rows[:, :2], 5, generator=draws).centers)
    assert torch.equal(back.weight, kmeans(rows[:, 3:], 4, generator=draws).centers)
    for part in (front, back):
        part.counts[1] = 0
    codes = whole(z, valid).codes
    first, second = whole.revive(z, codes, share=0.05)
    assert (first.tolist(), second.tolist()) == ([False, True, False, False, False],
                                                 [False, True, False, False])  # fmt: skip
    assert (front.weight[1] == rows[:, :2]).all(dim=1).any()
    assert (back.weight[1] == rows[:, 3:]).all(dim=1).any()


def test_shared_heads_start_from_all_heads() -> None:
    shared = EMAVectorQuantizer(2, 5)
    z = torch.randn(30, 4)
    valid = torch.rand(30) < 0.7
    GroupedQuantizer([shared, shared]).initialize(z, valid, steps=3, generator=seeded(3))
    stacked = torch.cat([z[valid, :2], z[valid, 2:]])
    assert torch.equal(shared.weight, kmeans(stacked, 5, steps=3, generator=seeded(3)).centers)


def test_heads_around_levels_start_and_revive() -> None:
    def levels() -> ResidualQuantizer:
        return ResidualQuantizer([EMAVectorQuantizer(2, 5) for _ in range(3)])

    whole = ProjectedQuantizer(GroupedQuantizer([levels(), levels()]), 6, channel_dim=1)
    z = torch.randn(4, 6, 25)
    rough = (whole.project(z) - whole.quantizer(whole.project(z)).vectors).square().mean()
    whole.initialize(z, steps=5)
    fine = (whole.project(z) - whole.quantizer(whole.project(z)).vectors).square().mean()
    assert fine < 0.2 * rough
    moved = whole.revive(z, whole(z).codes, share=1.0)
    assert [found.shape for found in moved] == [(5,)] * 6
    assert any(found.any() for found in moved)


def test_nothing_to_start_is_no_fault() -> None:
    whole = GroupedQuantizer([FSQ([5]), LFQ(2)])
    z = torch.randn(4, 3)
    whole.initialize(z)
    assert whole.revive(z, whole(z).codes) == ()


def test_nan_in_one_group_leaves_the_others_where_they_were() -> None:
    whole = GroupedQuantizer([EMAVectorQuantizer(2, 5), EMAVectorQuantizer(2, 5)])
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    z = torch.randn(30, 4)
    z[3, 3] = torch.nan
    with pytest.raises(ValueError, match="vectors must be finite; got NaN or infinity in 1 of"):
        whole.initialize(z)
    assert all(torch.equal(value, before[key]) for key, value in whole.state_dict().items())


# --- known values ---------------------------------------------------------------------------------


def test_groups_of_a_product() -> None:
    part = VectorQuantizer(1, 2)
    part.set_codebook(torch.tensor([[0.0], [10.0]]))
    quantizer = GroupedQuantizer([part, part, part])
    assert quantizer.dim == 3
    assert quantizer.codebook_size == 2
    z = torch.tensor([[1.0, 9.0, 4.0], [6.0, -5.0, 8.0]])
    assert quantizer.encode(z).tolist() == [[0, 1, 0], [1, 0, 1]]
    assert quantizer(z).vectors.tolist() == [[0.0, 10.0, 0.0], [10.0, 0.0, 10.0]]
    assert quantizer.decode(torch.tensor([[1, -1, 0]])).tolist() == [[10.0, 0.0, 0.0]]


def test_the_codebook_size_is_the_largest() -> None:
    quantizer = GroupedQuantizer([FSQ([5]), FSQ([3, 3])])
    assert quantizer.codebook_size == 9


# --- laws -----------------------------------------------------------------------------------------


def test_a_shared_group_learns_once_from_all_groups() -> None:
    shared = EMAVectorQuantizer(2, 5, decay=0.6, generator=seeded(0))
    alone = copy.deepcopy(shared)
    whole = GroupedQuantizer([shared, shared])
    z = torch.randn(30, 4)
    codes = whole(z).codes
    whole.update(z, codes)
    alone.update(torch.cat([z[:, :2], z[:, 2:]]), torch.cat([codes[:, 0], codes[:, 1]]))
    torch.testing.assert_close(shared.codebook, alone.codebook)
    assert len(list(whole.named_buffers())) == len(list(shared.named_buffers()))


def test_grouped_residual_codes_nest() -> None:
    def levels() -> ResidualQuantizer:
        return ResidualQuantizer([EMAVectorQuantizer(2, 5) for _ in range(3)])

    quantizer = GroupedQuantizer([levels(), levels()], channel_dim=1)
    z = torch.randn(2, 4, 7)
    vectors, codes, _ = quantizer(z)
    assert codes.shape == (2, 7, 3, 2)  # levels, then groups
    assert torch.equal(quantizer.decode(codes), vectors)
    before = [spread(m) for m in quantizer.modules() if isinstance(m, EMAVectorQuantizer)]
    quantizer.update(z, codes)
    after = [spread(m) for m in quantizer.modules() if isinstance(m, EMAVectorQuantizer)]
    assert len(before) == 6
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


# --- complaints -----------------------------------------------------------------------------------


def test_it_refuses_parts() -> None:
    with pytest.raises(ValueError, match="number of quantizers must be >= 1; got 0"):
        GroupedQuantizer([])
    with pytest.raises(TypeError, match="every part must be a quantizer; got Linear"):
        GroupedQuantizer([FSQ([5]), torch.nn.Linear(2, 2)])
    with pytest.raises(ValueError, match=r"every part must have channel_dim=-1.*got 1"):
        GroupedQuantizer([FSQ([5]), FSQ([5], channel_dim=1)])


def test_it_refuses_codes_of_another_number_of_groups() -> None:
    quantizer = GroupedQuantizer([FSQ([5]), FSQ([5])])
    with pytest.raises(ValueError, match=r"must have a last axis of 2.*got shape \(4, 3\)"):
        quantizer.decode(torch.zeros(4, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"must have a last axis of 2.*got shape \(4,\)"):
        quantizer.update(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))


def test_unequal_codebooks_do_not_stack() -> None:
    with pytest.raises(ValueError, match=r"codebook needs parts of one size.*\(5, 1\), \(9, 2\)"):
        _ = GroupedQuantizer([FSQ([5]), FSQ([3, 3])]).codebook
