import copy

import pytest
import torch
from torch import Tensor

from ssltok.quantizers import (
    FSQ,
    LFQ,
    EMAVectorQuantizer,
    GroupedQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
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
