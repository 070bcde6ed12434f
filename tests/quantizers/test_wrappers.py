"""What holds for quantizers made of quantizers, whichever they are."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok.quantizers import (
    FSQ,
    EMAVectorQuantizer,
    GroupedQuantizer,
    GumbelQuantizer,
    ProjectedQuantizer,
    RandomProjectionQuantizer,
    ResidualQuantizer,
    SimVQ,
    VectorQuantizer,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64).exp() - 0.6


def ema(seed: int = 0, dim: int = 2) -> EMAVectorQuantizer:
    return EMAVectorQuantizer(dim, 5, decay=0.6, generator=seeded(seed))


def dropping() -> ResidualQuantizer:
    return ResidualQuantizer([ema(i) for i in range(4)], dropout=1.0, generator=seeded(0))


def narrow(seed: int) -> Any:
    inner = VectorQuantizer(2, 7, generator=seeded(seed))
    return ProjectedQuantizer(inner, 4, generator=seeded(seed + 10))


# Oracle


@pytest.mark.parametrize("masked", [False, True])
def test_levels_with_projections_are_dac_s(masked: bool) -> None:
    """Factorised codes level by level; what is subtracted is a constant, as everywhere here."""
    levels, scales = [narrow(i).double() for i in range(3)], [1.0, 0.5, 2.0]
    whole = ResidualQuantizer(levels, scales=scales)
    z = data(30, 4).requires_grad_()
    valid = torch.arange(30) % 4 > 0 if masked else torch.ones(30, dtype=torch.bool)
    rest, total, loss, codes = z[valid], torch.zeros(()).double(), torch.zeros(()).double(), []
    for level, scale in zip(levels, scales, strict=True):
        inside, outside, book = level.project_in, level.project_out, level.quantizer.codebook
        p = rest / scale @ inside.weight.T + inside.bias
        code = (p[:, None] - book).square().sum(dim=2).argmin(dim=1)
        q = book[code]
        loss = loss + (p.detach() - q).square().mean() + 0.25 * (p - q.detach()).square().mean()
        vectors = scale * ((p + (q - p).detach()) @ outside.weight.T + outside.bias)
        rest, total = rest - vectors.detach(), total + vectors
        codes.append(code)
    got = whole(z, valid if masked else None)
    assert torch.equal(got.codes[valid], torch.stack(codes, dim=1))
    torch.testing.assert_close(got.vectors[valid], total)
    torch.testing.assert_close(got.loss, loss)
    leaves = [z, *whole.parameters()]
    wave = torch.arange(120).reshape(30, 4).double().sin()
    ours = torch.autograd.grad((got.vectors * wave).sum() + got.loss, leaves)
    theirs = torch.autograd.grad((total * wave[valid]).sum() + loss, leaves)
    torch.testing.assert_close(ours, theirs)
    assert all(grad.abs().sum() > 0 for grad in ours)


@pytest.mark.parametrize("level", [lambda: narrow(0), lambda: GumbelQuantizer(4, 5).eval()])
def test_one_level_that_learns_by_its_vectors_is_that_level(level: Any) -> None:
    torch.manual_seed(0)
    alone = level().double()
    whole = ResidualQuantizer([copy.deepcopy(alone)]).train(alone.training)
    z, found = data(20, 4), []
    for quantizer in (alone, whole):
        leaf = z.clone().requires_grad_()
        vectors, codes, loss = quantizer(leaf)
        grads = torch.autograd.grad(
            (vectors * z.sin()).sum() + loss, [leaf, *quantizer.parameters()]
        )
        found.append((vectors, codes.flatten(), loss, *grads))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


# Laws


@pytest.mark.parametrize(
    ("wrap", "parts"),
    [
        (lambda q: ProjectedQuantizer(q, 3), 0),
        (lambda q: GroupedQuantizer([q, ema()]), None),
        (lambda q: GroupedQuantizer([q, dropping()]), 1),
        (lambda q: ResidualQuantizer([q, dropping()]), 1),
        (lambda q: ProjectedQuantizer(GroupedQuantizer([q]), 3), 1),
    ],
)
def test_a_part_s_dropout_is_one_depth_for_a_sample(
    wrap: Callable[[Any], Any], parts: int | None
) -> None:
    """The part sees samples, not a flat row of tokens, and draws for the first axis."""
    if parts is None:
        with pytest.raises(ValueError, match=r"parts must have the same axes of codes"):
            wrap(dropping())
        return
    quantizer = wrap(dropping())
    codes = quantizer(data(50, 6, quantizer.dim).float()).codes
    codes = codes.flatten(3) if parts else codes[..., None]  # (samples, tokens, levels, parts)
    depth = (codes >= 0).sum(dim=2)
    assert (depth == depth[:, :1]).all()
    assert set(depth[:, 0, 0].tolist()) == {1, 2, 3, 4}


def test_projected_levels_start_update_and_revive() -> None:
    levels = [ProjectedQuantizer(ema(i), 4, generator=seeded(i)) for i in range(2)]
    whole, z = ResidualQuantizer(levels, channel_dim=1), data(6, 4, 9).float()
    whole.initialize(z, generator=seeded(3))
    codes = whole(z).codes
    assert torch.equal(whole.decode(codes), whole(z).vectors)
    rest = z.movedim(1, -1)
    for i, level in enumerate(copy.deepcopy(levels)):
        level.update(rest, codes[..., i])
        rest = rest - copy.deepcopy(levels)[i].decode(codes[..., i])
        levels[i] = level
    whole.update(z, codes)
    for level, other in zip(levels, whole.quantizers, strict=True):
        for one, same in zip(level.buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(one, same)
    assert [found.shape for found in whole.revive(z, codes, share=1.0)] == [(5,)] * 2


WRAPS: dict[str, Callable[[], Any]] = {
    "grouped": lambda: GroupedQuantizer([ema(0), ema(1)]),
    "residual": lambda: ResidualQuantizer([ema(0, 4), ema(1, 4)]),
    "projected": lambda: ProjectedQuantizer(ema(), 4),
    "projected groups": lambda: ProjectedQuantizer(GroupedQuantizer([ema(0), ema(1)]), 4),
    "groups of levels": lambda: GroupedQuantizer(
        [ResidualQuantizer([ema(i), ema(i + 2)]) for i in range(2)]
    ),
    "groups of projections": lambda: GroupedQuantizer(
        [ProjectedQuantizer(ema(i), 2) for i in range(2)]
    ),
}


# Complaints


@pytest.mark.parametrize("name", WRAPS)
@pytest.mark.parametrize("method", ["update", "revive"])
def test_bad_codes_are_refused_before_any_part_learns(name: str, method: str) -> None:
    quantizer = WRAPS[name]()
    for module in quantizer.modules():
        if isinstance(module, EMAVectorQuantizer):
            module.counts[1] = 0  # there is something to revive
    before = copy.deepcopy(quantizer.state_dict())
    latents = data(6, 3, 4).float()
    codes, call = quantizer.encode(latents), getattr(quantizer, method)
    who, shape = type(quantizer).__name__, tuple(codes.shape)
    turned = codes.transpose(0, 1)
    said = f"{who}: codes must have shape {shape}; got {tuple(turned.shape)}"
    with pytest.raises(ValueError, match=re.escape(said)):
        call(latents, turned)
    with pytest.raises(TypeError, match=rf"{who}: codes must be a tensor; got NoneType"):
        call(latents, None)
    with pytest.raises(ValueError, match=rf"{who}: codes must be int64; got torch.float32"):
        call(latents, codes.float())
    with pytest.raises(ValueError, match=rf"{who}: codes must have"):
        call(latents, codes[..., None])
    last = codes.clone()
    last.view(-1)[-1] = 5  # of the last part alone
    with pytest.raises(ValueError, match=r"codes must lie in \[-1, 5\); got values from \d to 5"):
        call(latents, last)
    for key, value in quantizer.state_dict().items():
        assert torch.equal(value, before[key])
    call(latents, codes)
    assert any(not torch.equal(v, before[k]) for k, v in quantizer.state_dict().items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda: GroupedQuantizer([ema(), ResidualQuantizer([ema(), ema()])]),
        lambda: ResidualQuantizer([ema(0, 4), GroupedQuantizer([ema(), ema()])]),
    ],
)
def test_parts_with_other_axes_of_codes_are_refused(wrap: Callable[[], nn.Module]) -> None:
    with pytest.raises(
        ValueError, match=r"Quantizer: parts must have the same axes of codes; got \[\(\), \(2,\)\]"
    ):
        wrap()


def test_levels_with_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"ResidualQuantizer: vectors must be as wide as dim, 4; got \[4, 1\]"
    ):
        ResidualQuantizer([SimVQ(4, 5), RandomProjectionQuantizer(4, 5, code_dim=1)])
    with pytest.raises(
        ValueError, match=r"ProjectedQuantizer: vectors must be as wide as dim, 4; got \[1\]"
    ):
        ProjectedQuantizer(RandomProjectionQuantizer(4, 5, code_dim=1), 6)


def test_levels_of_several_dtypes_add_up_as_they_decode() -> None:
    levels = [VectorQuantizer(3, 4, generator=seeded(i)) for i in range(4)]
    whole = ResidualQuantizer([levels[0].half(), levels[1], levels[2].double(), levels[3]])
    vectors, codes, _ = whole(data(9, 3).float())
    assert vectors.dtype == torch.float64
    assert torch.equal(vectors, whole.decode(codes))


@pytest.mark.parametrize(
    "quantizer",
    [
        VectorQuantizer(3, 4, channel_dim=1),
        FSQ([5, 5], channel_dim=1),
        ProjectedQuantizer(FSQ([5]), 3, channel_dim=1),
        GroupedQuantizer([FSQ([5])], channel_dim=1),
        ResidualQuantizer([FSQ([5])], channel_dim=1),
    ],
    ids=lambda quantizer: type(quantizer).__name__,
)
def test_decoding_needs_room_for_the_channels(quantizer: Any) -> None:
    one = quantizer.encode(torch.zeros(2, quantizer.dim))[0]
    who = type(quantizer).__name__
    with pytest.raises(ValueError, match=rf"{who}: codes must have enough axes for channel_dim=1"):
        quantizer.decode(one)
    quantizer.channel_dim = -1
    assert quantizer.decode(one).shape == (quantizer.dim,)
