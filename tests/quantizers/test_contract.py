"""What every quantizer promises; a new one comes under it with one line in `CASES`."""

import copy
import inspect
import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import ssltok.quantizers as package
from ssltok.quantizers import (
    BSQ,
    FSP,
    FSQ,
    LFQ,
    NSVQ,
    AffineVectorQuantizer,
    DiVeQ,
    EMAVectorQuantizer,
    GroupedQuantizer,
    GrowingQuantizer,
    GumbelQuantizer,
    LateQuantizer,
    MultiScaleQuantizer,
    OrderedQuantizer,
    ProjectedQuantizer,
    Quantized,
    Quantizer,
    RandomProjectionQuantizer,
    ResidualQuantizer,
    SimVQ,
    SymmetricFSQ,
    VectorQuantizer,
    codebook_entropy_loss,
    rotation_trick,
    sample_codes,
)
from ssltok.testing import check_quantizer


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def penalty(tokens: Tensor, codebook: Tensor, valid: Tensor | None) -> Tensor:
    return 0.3 * codebook_entropy_loss(tokens, codebook, valid, temperature=0.7)


CASES: dict[str, Callable[[int], nn.Module]] = {
    "VectorQuantizer": lambda c: VectorQuantizer(6, 11, channel_dim=c, generator=seeded()),
    "VectorQuantizer, all options": lambda c: VectorQuantizer(
        6, 300, channel_dim=c, cosine=True, commitment_weight=0.4, codebook_weight=0.8,
        estimator=rotation_trick, regularizer=penalty, generator=seeded(),
    ),
    "VectorQuantizer, drawn": lambda c: VectorQuantizer(
        6, 11, channel_dim=c, search=partial(sample_codes, temperature=0.8)
    ),
    "EMAVectorQuantizer": lambda c: EMAVectorQuantizer(6, 11, channel_dim=c, generator=seeded()),
    "EMAVectorQuantizer, all options": lambda c: EMAVectorQuantizer(
        6, 11, channel_dim=c, cosine=True, commitment_weight=0.4, decay=0.7,
        estimator=rotation_trick, regularizer=penalty, generator=seeded(),
    ),
    "ProjectedQuantizer": lambda c: ProjectedQuantizer(VectorQuantizer(3, 11), 6, channel_dim=c),
    "ProjectedQuantizer, shared heads": lambda c: ProjectedQuantizer(
        GroupedQuantizer([EMAVectorQuantizer(2, 11)] * 3), 5, channel_dim=c
    ),
    "FSQ": lambda c: FSQ([5, 4, 3], channel_dim=c),
    "LFQ": lambda c: LFQ(4, channel_dim=c),
    "BSQ": lambda c: BSQ(4, channel_dim=c),
    "SimVQ": lambda c: SimVQ(6, 11, channel_dim=c, generator=seeded()),
    "GumbelQuantizer": lambda c: GumbelQuantizer(6, 11, channel_dim=c, generator=seeded()),
    "RandomProjectionQuantizer": lambda c: RandomProjectionQuantizer(6, 11, channel_dim=c),
    "ResidualQuantizer": lambda c: ResidualQuantizer(
        [EMAVectorQuantizer(6, 11), VectorQuantizer(6, 7)], channel_dim=c
    ),
    "ResidualQuantizer, dropout": lambda c: ResidualQuantizer(
        [EMAVectorQuantizer(6, 11) for _ in range(3)], dropout=0.6, channel_dim=c
    ),
    "GroupedQuantizer": lambda c: GroupedQuantizer(
        [FSQ([4, 3]), EMAVectorQuantizer(3, 11)], channel_dim=c
    ),
    "GroupedQuantizer, separate heads": lambda c: GroupedQuantizer(
        [VectorQuantizer(2, 11), VectorQuantizer(2, 11)], channel_dim=c
    ),
    "AffineVectorQuantizer": lambda c: AffineVectorQuantizer(
        6, 11, channel_dim=c, generator=seeded()
    ),
    "DiVeQ": lambda c: DiVeQ(6, 11, channel_dim=c, weight_generator=seeded()),
    "NSVQ": lambda c: NSVQ(6, 11, channel_dim=c, weight_generator=seeded()),
    "SymmetricFSQ": lambda c: SymmetricFSQ([5, 4, 2], noise=0.5, channel_dim=c),
    "FSP": lambda c: FSP([5, 4, 2], channel_dim=c),
    "ResidualQuantizer, beams": lambda c: ResidualQuantizer(
        [EMAVectorQuantizer(6, 11), VectorQuantizer(6, 7, cosine=True)], beams=3, channel_dim=c
    ),
    "ResidualQuantizer, beams and dropout": lambda c: ResidualQuantizer(
        [VectorQuantizer(6, 11) for _ in range(3)], beams=3, dropout=0.6, channel_dim=c
    ),
    "LateQuantizer": lambda c: LateQuantizer(
        EMAVectorQuantizer(6, 11), wait=0, ramp=1, channel_dim=c
    ),
    "OrderedQuantizer": lambda c: OrderedQuantizer(EMAVectorQuantizer(6, 11), channel_dim=c),
    "GrowingQuantizer": lambda c: GrowingQuantizer(
        EMAVectorQuantizer(6, 11), [2, 2, 5, 11], channel_dim=c
    ),
    "MultiScaleQuantizer": lambda c: MultiScaleQuantizer(
        [EMAVectorQuantizer(6, 11), VectorQuantizer(6, 7)], strides=[3, 1], channel_dim=c
    ),
    "MultiScaleQuantizer, groups": lambda c: MultiScaleQuantizer(
        [GroupedQuantizer([EMAVectorQuantizer(3, 5)] * 2)] * 3, strides=[4, 2, 2], channel_dim=c
    ),
}  # fmt: skip
if not os.environ.get("SSLTOK_ALL"):  # each is a pair of laws that others have singly
    for rare in ("ResidualQuantizer, beams and dropout", "MultiScaleQuantizer, groups"):
        del CASES[rare]
NOISY = {"DiVeQ", "NSVQ", "SymmetricFSQ", "FSP", "LateQuantizer"}
"""Those whose vectors in training are not `decode(codes)`."""
RANDOM = NOISY | {
    "VectorQuantizer, drawn", "GumbelQuantizer", "ResidualQuantizer, dropout",
    "ResidualQuantizer, beams and dropout", "OrderedQuantizer",
}  # fmt: skip
"""Those whose forward draws in training; they are compared in evaluation mode."""
RANDOM &= CASES.keys()
BY_PLACE = {name for name in CASES if name.startswith(("Growing", "MultiScale"))}
"""Those whose codes depend on where a token stands."""
WRAPPERS = ("Residual", "Grouped", "ProjectedQuantizer, sh", "MultiScale")
"""Those with a codebook for each part."""
NO_GRADIENT = {"RandomProjectionQuantizer"}

names = pytest.mark.parametrize("name", CASES)
modes = pytest.mark.parametrize(
    ("name", "training"),
    [(name, mode) for name in CASES for mode in (True, False) if not (mode and name in RANDOM)],
)
"""Training and evaluation; a search that draws cannot be compared, and needs the latter only."""


def build(name: str, channel_dim: int = -1) -> Any:
    torch.manual_seed(7)
    return CASES[name](channel_dim)


def calm(name: str, quantizer: Any) -> Any:
    """In training mode, unless that would draw."""
    return quantizer.train(name not in RANDOM)


def data(*shape: int, seed: int = 1) -> Tensor:
    """Skewed and off centre, so that no symmetry hides a mistake."""
    return torch.randn(*shape, generator=seeded(seed)).exp() - 0.7


def state(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def gradients(quantizer: Any, latents: Tensor, valid: Tensor | None = None) -> dict[str, Tensor]:
    latents = latents.clone().requires_grad_()
    quantizer.zero_grad()
    vectors, _, loss = quantizer(latents, valid)
    wave = torch.arange(vectors.numel()).reshape(vectors.shape).sin()
    scalar = (vectors * wave).sum() + 3 * loss
    if scalar.requires_grad:
        scalar.backward()
    found = {key: p.grad for key, p in quantizer.named_parameters() if p.grad is not None}
    return {"latents": torch.zeros(()) if latents.grad is None else latents.grad, **found}


def test_every_quantizer_is_here() -> None:
    classes = {
        item for item in package.__all__
        if inspect.isclass(getattr(package, item)) and issubclass(getattr(package, item), nn.Module)
    }  # fmt: skip
    assert classes == {name.split(",")[0] for name in CASES}


@names
@pytest.mark.parametrize("channel_dim", [-1, 1])
def test_every_quantizer_keeps_the_law(name: str, channel_dim: int) -> None:
    check_quantizer(
        lambda: build(name, channel_dim), noisy=name in NOISY, by_place=name in BY_PLACE
    )


def options(module: nn.Module) -> dict[str, Any]:
    """What a module was built from, read back by the names of its arguments."""
    arguments = inspect.signature(type(module)).parameters
    return {key: getattr(module, key) for key in arguments if key != "generator"}


def is_plain(value: Any) -> bool:
    """Whether a value can be written down."""
    if isinstance(value, list | tuple):
        return all(is_plain(entry) for entry in value)
    return value is None or type(value) in (bool, int, float, str)


def rebuild(module: nn.Module, memo: dict[int, nn.Module] | None = None) -> nn.Module:
    """Build a module anew from its options, and so the modules among them, a shared one once."""
    memo = {} if memo is None else memo

    def copy_of(value: Any) -> Any:
        if isinstance(value, nn.ModuleList | list | tuple) and not is_plain(value):
            return [copy_of(entry) for entry in value]
        return rebuild(value, memo) if isinstance(value, nn.Module) else value

    if id(module) not in memo:
        memo[id(module)] = type(module)(
            **{key: copy_of(value) for key, value in options(module).items()}
        )
    return memo[id(module)]


BITS: dict[str, Any] = {
    "commitment_weight": 0.3, "entropy_weight": 0.2, "diversity_weight": 0.7, "temperature": 0.5,
    "group_bits": 3, "channel_dim": 1,
}  # fmt: skip
SHARED = EMAVectorQuantizer(3, 5)
NOISE: dict[str, Any] = {
    "channel_dim": 1, "search": partial(sample_codes, temperature=0.8), "regularizer": penalty,
    "generator": seeded(), "weight_generator": seeded(),
}  # fmt: skip
OPTIONS: dict[str, Callable[[], nn.Module]] = {
    "VectorQuantizer": lambda: VectorQuantizer(
        6, 11, channel_dim=1, cosine=True, commitment_weight=0.4, codebook_weight=0.8,
        estimator=rotation_trick, search=partial(sample_codes, temperature=0.8),
        regularizer=penalty, generator=seeded(),
    ),
    "EMAVectorQuantizer": lambda: EMAVectorQuantizer(
        6, 11, channel_dim=1, cosine=True, commitment_weight=0.4, decay=0.7,
        estimator=rotation_trick, search=partial(sample_codes, temperature=0.8),
        regularizer=penalty, generator=seeded(),
    ),
    "FSQ": lambda: FSQ((5, 4, 3), channel_dim=1),
    "LFQ": lambda: LFQ(4, **BITS),
    "BSQ": lambda: BSQ(4, **BITS),
    "SimVQ": lambda: SimVQ(6, 11, codebook_weight=0.8, commitment_weight=0.4, channel_dim=1),
    "GumbelQuantizer": lambda: GumbelQuantizer(
        6, 11, temperature=0.7, kl_weight=0.01, channel_dim=1, weight_generator=seeded()
    ),
    "RandomProjectionQuantizer": lambda: RandomProjectionQuantizer(
        6, 11, code_dim=3, normalize=False, channel_dim=1
    ),
    "ResidualQuantizer": lambda: ResidualQuantizer(
        [SHARED, VectorQuantizer(3, 7, codebook_weight=0.5), SHARED], dropout=0.6,
        scales=(1.0, 0.5, 2.0), beams=2, channel_dim=1, generator=seeded(),
    ),
    "GroupedQuantizer": lambda: GroupedQuantizer([FSQ([5, 3]), SHARED, SHARED], channel_dim=1),
    "ProjectedQuantizer": lambda: ProjectedQuantizer(
        GroupedQuantizer([SHARED, EMAVectorQuantizer(2, 7)]), 4, channel_dim=1
    ),
    "AffineVectorQuantizer": lambda: AffineVectorQuantizer(
        6, 11, channel_dim=1, commitment_weight=0.4, decay=0.7, statistics_decay=0.6,
        estimator=rotation_trick, search=partial(sample_codes, temperature=0.8),
        regularizer=penalty, generator=seeded(),
    ),
    "DiVeQ": lambda: DiVeQ(6, 11, noise_variance=0.1, **NOISE),
    "NSVQ": lambda: NSVQ(6, 11, **NOISE),
    "SymmetricFSQ": lambda: SymmetricFSQ((5, 4, 2), noise=0.4, channel_dim=1, generator=seeded()),
    "FSP": lambda: FSP(
        (5, 4, 2), noise=0.4, mean_weight=0.3, variance_weight=0.2, channel_dim=1,
        generator=seeded(),
    ),
    "LateQuantizer": lambda: LateQuantizer(
        SHARED, wait=0, ramp=3, channel_dim=1, generator=seeded()
    ),
    "OrderedQuantizer": lambda: OrderedQuantizer(
        SHARED, dropout=0.7, fewest=2, channel_dim=1, generator=seeded()
    ),
    "GrowingQuantizer": lambda: GrowingQuantizer(SHARED, [2, 5], channel_dim=1),
    "MultiScaleQuantizer": lambda: MultiScaleQuantizer(
        [SHARED, VectorQuantizer(3, 7), SHARED], strides=[4, 2, 1], channel_dim=1
    ),
}  # fmt: skip
STARTS = {"weight_generator"}
"""Arguments that only set start values: they come back as None."""


@pytest.mark.parametrize(
    "name", [item for item in package.__all__ if hasattr(getattr(package, item), "state_dict")]
)
def test_options_are_read_back(name: str) -> None:
    torch.manual_seed(7)
    module = OPTIONS[name]().eval()
    for key, parameter in inspect.signature(type(module)).parameters.items():
        if key in STARTS:
            assert getattr(module, key) is None
        elif key != "generator":
            value = getattr(module, key)
            assert is_plain(value) or callable(value) or isinstance(value, nn.ModuleList), key
            if parameter.default is not inspect.Parameter.empty:
                assert value != parameter.default, f"{key} is not tried"
    other = rebuild(module).eval()
    assert {key: value.shape for key, value in module.state_dict().items()} == {
        key: value.shape for key, value in other.state_dict().items()
    }
    assert len(list(other.modules())) == len(list(module.modules()))  # shared ones are shared
    other.load_state_dict(module.state_dict())
    for key, value in options(module).items():
        if is_plain(value):
            assert getattr(other, key) == value
            assert type(getattr(other, key)) is type(value)
    for part in [*module.modules(), *other.modules()]:
        if hasattr(part, "generator"):
            setattr(part, "generator", None)  # noqa: B010
    latents = data(3, cast("Quantizer", module).dim, 5)
    for training in (False, True):
        results = []
        for quantizer in (module, other):
            torch.manual_seed(3)
            grads = gradients(quantizer.train(training), latents)
            results.append([*grads.values(), *quantizer(latents)])
        for one, same_one in zip(*results, strict=True):
            assert torch.equal(one, same_one)


@pytest.mark.parametrize(
    ("quantizer", "code_shape", "sizes"),
    [
        (FSQ([5, 4]), (), (20,)),
        (ResidualQuantizer([FSQ([5]), LFQ(1), FSQ([7])]), (3,), (5, 2, 7)),
        (GroupedQuantizer([FSQ([5]), LFQ(3)]), (2,), (5, 8)),
        (
            GroupedQuantizer(
                [ResidualQuantizer([FSQ([n]) for n in ns]) for ns in ([3, 4, 5], [6, 7, 8])]
            ),
            (3, 2),
            (3, 6, 4, 7, 5, 8),
        ),
        (
            ProjectedQuantizer(
                ResidualQuantizer(
                    [GroupedQuantizer([FSQ([n]) for n in ns]) for ns in ([3, 4], [5, 6], [7, 8])]
                ),
                5,
            ),
            (2, 3),
            (3, 5, 7, 4, 6, 8),
        ),
    ],
)
def test_sizes_stand_as_the_codes_do(
    quantizer: Any, code_shape: tuple[int, ...], sizes: tuple[int, ...]
) -> None:
    assert quantizer.code_shape == code_shape
    assert quantizer.codebook_sizes == sizes
    assert quantizer.codes_per_token == len(sizes)
    assert quantizer.codebook_size == max(sizes)
    codes = quantizer.encode(data(4, quantizer.dim))
    assert codes.shape[1:] == code_shape
    most = (torch.tensor(sizes) - 1).reshape(code_shape).expand_as(codes)
    assert quantizer.decode(most).isfinite().all()
    quantizer.update(data(4, quantizer.dim), most)
    for i in range(len(sizes)) if code_shape else ():  # one code alone revives nothing
        over = most.clone().reshape(4, -1)
        over[2, i] += 1
        with pytest.raises(ValueError, match=rf"codes must lie in \[-1, {sizes[i]}\); got"):
            quantizer.revive(data(4, quantizer.dim), over.reshape(codes.shape))


@pytest.mark.parametrize(
    ("parts", "learns"),
    [
        ([FSQ([5]), LFQ(1)], False),
        ([FSQ([5]), GumbelQuantizer(1, 3)], True),
        ([ProjectedQuantizer(FSQ([5]), 2), GumbelQuantizer(1, 3)], True),
    ],
)
def test_groups_learn_by_vectors_if_one_does(parts: list[nn.Module], learns: bool) -> None:
    whole = GroupedQuantizer(parts)
    assert whole.learns_by_vectors is learns
    assert ResidualQuantizer([whole]).learns_by_vectors is learns
    assert ProjectedQuantizer(whole, 3).learns_by_vectors


@names
def test_the_interface(name: str) -> None:
    quantizer = build(name)
    assert isinstance(quantizer, Quantizer)
    if not name.startswith(WRAPPERS):
        assert tuple(quantizer.codebook.shape) == (quantizer.codebook_size, quantizer.dim)
    result = quantizer(data(9, quantizer.dim))
    assert isinstance(result, Quantized)
    assert result.codes.dtype == torch.int64
    assert result.codes.min() >= -1
    assert result.codes.max() < quantizer.codebook_size
    assert result.loss.shape == ()
    assert result.loss.dtype == torch.float32


def test_asking_for_the_interface_builds_no_codebook() -> None:
    assert isinstance(FSQ([8] * 20), Quantizer)  # 2**60 codes
    assert isinstance(ResidualQuantizer([FSQ([4]), FSQ([5])]), Quantizer)  # they do not stack
    assert not isinstance(nn.Linear(2, 2), Quantizer)


@names
@pytest.mark.parametrize("channel_dim", [-1, 0, 1, 2])
@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_any_layout_is_the_flat_one(name: str, rank: int, channel_dim: int) -> None:
    if channel_dim >= rank:
        channel_dim = -2
    flat, other = (calm(name, build(name, c)) for c in (-1, channel_dim))
    lead = (3, 2, 4, 2)[: rank - 1]
    latents = data(*lead, flat.dim)
    valid = torch.rand(*lead, generator=seeded(3)) < 0.7
    rows, here = latents.reshape(-1, flat.dim), valid.reshape(-1)
    if name in BY_PLACE and rank > 2:
        rows, here = latents, valid  # as channels last
    expected = flat(rows, here)
    got = other(latents.movedim(-1, channel_dim), valid)
    parts = flat.code_shape
    assert torch.equal(got.codes, expected.codes.reshape(*lead, *parts))
    vectors = got.vectors.movedim(channel_dim, -1)
    torch.testing.assert_close(vectors, expected.vectors.reshape(*lead, flat.dim))
    torch.testing.assert_close(got.loss, expected.loss)
    assert torch.equal(other.decode(got.codes), got.vectors)
    assert torch.equal(other.encode(latents.movedim(-1, channel_dim), valid), got.codes)


@names
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_forward_is_decode_bit_for_bit(name: str, training: bool, autocast: bool) -> None:
    quantizer = build(name, 1).train(training)
    valid = torch.rand(4, 9, generator=seeded(3)) < 0.7
    for latents in (data(4, quantizer.dim, 9), data(4, quantizer.dim, 9).bfloat16()):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            result = quantizer(latents, valid)
        if not (training and name in NOISY):
            assert torch.equal(result.vectors, quantizer.decode(result.codes))
        assert result.vectors.dtype == torch.float32
        assert result.loss.dtype == torch.float32
        if not training:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                assert torch.equal(quantizer.encode(latents, valid), result.codes)


@names
def test_autocast_changes_nothing(name: str) -> None:
    quantizer = calm(name, build(name))
    latents = data(5, 8, quantizer.dim)
    plain = quantizer(latents)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = quantizer(latents)
    assert torch.equal(plain.codes, cast.codes)
    assert torch.equal(plain.vectors, cast.vectors)
    torch.testing.assert_close(plain.loss, cast.loss, rtol=1e-5, atol=1e-6)


@names
def test_padding_is_as_good_as_truncation(name: str) -> None:
    """Whatever stands at padding, NaN included, nothing of it reaches a result or a gradient."""
    quantizer = calm(name, build(name, 1))
    latents = data(3, quantizer.dim, 8)
    valid = torch.arange(8).expand(3, 8) < 5
    padded = latents.clone()
    padded[:, :, 5], padded[:, :, 6:] = torch.nan, 1e4
    expected, got = quantizer(latents[:, :, :5]), quantizer(padded, valid)
    assert torch.equal(got.codes[:, :5], expected.codes)
    assert (got.codes[:, 5:] == -1).all()
    torch.testing.assert_close(got.vectors[:, :, :5], expected.vectors)
    assert (got.vectors[:, :, 5:] == 0).all()
    torch.testing.assert_close(got.loss, expected.loss)
    whole = nn.functional.pad(latents[:, :, :5], (0, 3))
    wanted, found = gradients(quantizer, whole, valid), gradients(quantizer, padded, valid)
    for key in wanted:
        torch.testing.assert_close(found[key], wanted[key])
        assert found[key].isfinite().all()
    if name not in NO_GRADIENT:
        assert found["latents"][:, :, :5].abs().sum() > 0
        assert (found["latents"][:, :, 5:] == 0).all()
    before = copy.deepcopy(quantizer)
    quantizer.update(padded, got.codes)
    before.update(latents[:, :, :5].contiguous(), expected.codes)
    for key, value in state(quantizer).items():
        torch.testing.assert_close(value, state(before)[key])


LOST = {
    "NaN": lambda row: row.fill_(torch.nan),
    "one NaN": lambda row: row[-1:].fill_(torch.nan),
    "one infinity": lambda row: row[1:2].fill_(torch.inf),
    "both infinities": lambda row: row[:2].copy_(torch.tensor([torch.inf, -torch.inf])),
    "NaN in half precision": lambda row: row[1:2].fill_(torch.nan),
}  # fmt: skip


@names
@pytest.mark.parametrize("kind", LOST)
def test_rows_that_are_not_finite_are_as_if_they_were_not_there(name: str, kind: str) -> None:
    """One NaN in mixed precision would stay in a running mean for ever."""
    with_lost, without = (calm(name, build(name)) for _ in range(2))
    if "half" in kind:
        with_lost, without = with_lost.bfloat16(), without.bfloat16()
    for step in range(3):
        latents = data(30, with_lost.dim, seed=step)
        lost = torch.tensor([0, 7 + step, 8 + step, 29])
        for i in lost:
            LOST[kind](latents[i])
        rest = torch.tensor([i for i in range(30) if i not in lost])
        codes = with_lost(latents).codes
        with_lost.update(latents, codes)
        without.update(latents[rest], codes[rest])
        for key, value in state(with_lost).items():  # a projection rounds otherwise for fewer rows
            torch.testing.assert_close(value, state(without)[key])
        for part in with_lost.modules():
            if isinstance(part, VectorQuantizer):
                part.counts[1:] = 0
        flags = with_lost.revive(latents, codes, share=0.9, generator=seeded(step))
        moved = [flags] if isinstance(flags, Tensor) else list(flags)
        assert all(value.isfinite().all() for value in state(with_lost).values())
        assert all(value.isfinite().all() for value in state(without).values())
        assert all(flag.sum() == len(flag) - 1 for flag in moved)
        without.load_state_dict(with_lost.state_dict())
    before = state(with_lost)
    nothing = torch.full((5, with_lost.dim), torch.nan)
    with_lost.update(nothing, codes[:5])
    with_lost.revive(nothing, codes[:5])
    assert same(state(with_lost), before)


@names
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_of_padding_is_nothing(name: str, training: bool) -> None:
    quantizer = build(name).train(training)
    latents = data(2, 5, quantizer.dim).requires_grad_()
    before = state(quantizer)
    result = quantizer(latents, torch.zeros(2, 5, dtype=torch.bool))
    assert result.loss == 0
    assert (result.codes == -1).all()
    assert (result.vectors == 0).all()
    if result.loss.requires_grad:
        (result.loss + result.vectors.sum()).backward()
        assert latents.grad is None or (latents.grad == 0).all()
        assert all(p.grad is None or (p.grad == 0).all() for p in quantizer.parameters()
                   if p.ndim == 2 and "project" not in name.lower())  # fmt: skip
    quantizer.update(latents.detach(), result.codes)
    assert same(state(quantizer), before)


@names
@pytest.mark.parametrize("training", [True, False])
def test_nothing_waits_for_the_device(name: str, training: bool) -> None:
    """On `meta` there are no values: whoever looks at one, as a host sync does, fails."""
    quantizer = build(name, 1).train(training).to("meta")
    for module in quantizer.modules():
        if getattr(module, "generator", None) is not None:
            module.generator = None  # it is on the CPU
    latents = torch.randn(4, quantizer.dim, 9, device="meta", requires_grad=True)
    valid = torch.ones(4, 9, dtype=torch.bool, device="meta")
    result = quantizer(latents, valid)
    if result.vectors.requires_grad:
        (result.vectors.sum() + result.loss).backward()
    assert quantizer.decode(quantizer.encode(latents, valid)).device.type == "meta"
    quantizer.update(latents.detach(), result.codes)
    quantizer.revive(latents.detach(), result.codes)


@names
@pytest.mark.parametrize("shape", [(0,), (1,), (1, 1), (0, 3), (2, 0), (1, 5)])
def test_small_and_empty_batches(name: str, shape: tuple[int, ...]) -> None:
    quantizer = build(name)
    latents = data(*shape, quantizer.dim).requires_grad_()
    result = quantizer(latents)
    assert result.vectors.shape == latents.shape
    assert result.codes.shape[: len(shape)] == shape
    assert result.loss.isfinite()
    if result.vectors.requires_grad:
        (result.vectors.sum() + result.loss).backward()
    quantizer.update(latents.detach(), result.codes)
    assert all(value.isfinite().all() for value in state(quantizer).values())
    assert quantizer.encode(latents).shape == result.codes.shape


@names
@pytest.mark.parametrize("training", [True, False])
def test_forward_encode_and_decode_only_read(name: str, training: bool) -> None:
    quantizer = build(name).train(training)
    latents = data(6, 5, quantizer.dim)
    before, kept = state(quantizer), latents.clone()
    gradients(quantizer, latents)
    quantizer.decode(quantizer.encode(latents))
    assert same(state(quantizer), before)
    assert torch.equal(latents, kept)
    assert quantizer.training is training


@names
def test_encode_draws_nothing(name: str) -> None:
    quantizer = build(name).train()
    latents = data(6, 5, quantizer.dim)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = quantizer.encode(latents)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(quantizer.encode(latents), first)
    assert torch.equal(quantizer.eval()(latents).codes, first)


@names
def test_gradients_are_finite_where_latents_are_extreme(name: str) -> None:
    quantizer = calm(name, build(name))
    for scale in (0.0, 1e-12, 1e4):
        found = gradients(quantizer, scale * data(7, quantizer.dim))
        assert all(gradient.isfinite().all() for gradient in found.values()), scale


@names
def test_activation_checkpointing_changes_nothing(name: str) -> None:
    """The forward runs twice, the state moves once: it only moves in `update`."""
    plain = calm(name, build(name))
    rerun = copy.deepcopy(plain)
    latents = data(4, 6, plain.dim)
    wanted = gradients(plain, latents)
    leaf = latents.clone().requires_grad_()
    result = checkpoint(rerun, leaf, use_reentrant=False)
    wave = torch.arange(result.vectors.numel()).reshape(result.vectors.shape).sin()
    scalar = (result.vectors * wave).sum() + 3 * result.loss
    if scalar.requires_grad:
        scalar.backward()
        torch.testing.assert_close(leaf.grad, wanted["latents"])
    plain.update(latents, plain(latents).codes)
    rerun.update(latents, result.codes)
    assert same(state(rerun), state(plain))


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_activation_checkpointing_draws_the_same_again(name: str) -> None:
    """In training, from torch's own source, which it restores; a generator it would not."""
    quantizer = build(name).train()
    for module in quantizer.modules():
        if getattr(module, "generator", None) is not None:
            module.generator = None
    latents, found = data(4, 6, quantizer.dim), []
    for twice in (False, True):
        torch.manual_seed(5)
        leaf = latents.clone().requires_grad_()
        quantizer.zero_grad()
        result = checkpoint(quantizer, leaf, use_reentrant=False) if twice else quantizer(leaf)
        vectors, codes, loss = result
        wave = torch.arange(vectors.numel()).reshape(vectors.shape).sin()
        ((vectors * wave).sum() + 3 * loss).backward()
        grads = [leaf.grad, *(p.grad for p in quantizer.parameters())]
        found.append([codes, vectors, *grads])
    still = quantizer.eval()(latents)  # they were drawn:
    assert not all(map(torch.equal, found[0][:2], (still.codes, still.vectors)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@names
def test_micro_batches_update_as_one_batch(name: str) -> None:
    whole = calm(name, build(name))
    parts = copy.deepcopy(whole)
    latents = data(8, 6, whole.dim)
    whole.update(latents, whole(latents).codes)
    codes = torch.cat([parts(micro).codes for micro in (latents[:3], latents[3:4], latents[4:])])
    parts.update(latents, codes)
    assert same(state(parts), state(whole))


@names
def test_idle_is_who_learns_nothing_in_update(name: str) -> None:
    quantizer = calm(name, build(name))
    before, latents = state(quantizer), data(30, quantizer.dim)
    quantizer.update(latents, quantizer(latents).codes)
    assert same(state(quantizer), before) is quantizer.idle


@pytest.mark.parametrize("wrap", [lambda q: GroupedQuantizer([FSQ([5]), q]), lambda q:
                                  ResidualQuantizer([FSQ([5]), q]), lambda q:
                                  ProjectedQuantizer(q, 3)])  # fmt: skip
def test_wrappers_update_a_part_that_is_not_idle(wrap: Callable[[Any], Any]) -> None:
    class Own(FSQ):
        """Somebody's quantizer, which learns in its own way."""

        idle = False
        seen = 0

        def update(self, latents: Tensor, codes: Tensor) -> None:
            self.seen += len(codes)

    own = Own([5])
    quantizer = wrap(own)
    quantizer.update(data(30, quantizer.dim), quantizer.encode(data(30, quantizer.dim)))
    assert own.seen == 30


@names
def test_saving_and_loading_carries_everything(name: str) -> None:
    old = calm(name, build(name))
    latents = data(8, 6, old.dim)
    old.update(latents, old(latents).codes)
    torch.manual_seed(99)
    new = calm(name, CASES[name](-1))
    new.load_state_dict(old.state_dict())
    for quantizer in (old, new):
        quantizer.update(latents, quantizer(latents).codes)
    assert same(state(old), state(new))
    assert torch.equal(old.encode(latents), new.encode(latents))


# torch itself warns when it traces a torch.autograd.Function
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@modes
def test_it_compiles_whole(name: str, training: bool) -> None:
    quantizer = build(name, 1).train(training)
    latents = data(3, quantizer.dim, 5)
    valid = torch.rand(3, 5, generator=seeded(3)) < 0.7
    torch._dynamo.reset()
    compiled = torch.compile(quantizer, fullgraph=True, backend="eager")
    expected, got = quantizer(latents, valid), compiled(latents, valid)  # type: ignore[no-untyped-call]
    assert torch.equal(got.codes, expected.codes)
    torch.testing.assert_close(got.vectors, expected.vectors)
    torch.testing.assert_close(got.loss, expected.loss)


# torch itself warns when it traces a torch.autograd.Function
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("name", sorted(RANDOM))
def test_what_draws_compiles_and_exports_in_training(name: str) -> None:
    """Draws cannot be compared; that they are codes, and the vectors theirs, can."""
    quantizer = build(name, 1).train()
    for module in quantizer.modules():
        if getattr(module, "generator", None) is not None:
            module.generator = None  # a graph cannot hold one
    latents = data(3, quantizer.dim, 5)
    torch._dynamo.reset()
    compiled: Any = torch.compile(quantizer, fullgraph=True, backend="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported: Any = torch.export.export(quantizer, (latents,)).module()
    for run in (compiled, exported):
        vectors, codes, loss = run(latents)
        if name not in NOISY:
            torch.testing.assert_close(vectors, quantizer.decode(codes))
        assert loss.isfinite()


@modes
def test_it_exports(name: str, training: bool) -> None:
    quantizer = build(name, 1).train(training)
    latents = data(4, quantizer.dim, 5)
    valid = torch.rand(4, 5, generator=seeded(3)) < 0.7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(quantizer, (latents, valid))
    other = data(4, quantizer.dim, 5, seed=5)
    expected, got = quantizer(other, valid), program.module()(other, valid)
    assert torch.equal(got[1], expected.codes)
    torch.testing.assert_close(got[0], expected.vectors)
    torch.testing.assert_close(got[2], expected.loss)


@names
def test_unknown_codes_decode_to_zero(name: str) -> None:
    quantizer = build(name)
    codes = quantizer.eval().encode(data(6, quantizer.dim))
    known = quantizer.decode(codes)
    codes = codes.clone()
    codes[2] = -1
    decoded = quantizer.decode(codes)
    assert (decoded[2] == 0).all()
    assert torch.equal(decoded[3:], known[3:])


@names
def test_no_code_but_that_of_padding_decodes_to_zero(name: str) -> None:
    """The first code of every level as well."""
    quantizer = build(name).eval()
    codes = torch.zeros_like(quantizer.encode(data(2, quantizer.dim)))
    codes[1] = 1
    assert quantizer.decode(codes).any(dim=-1).all()


@names
def test_complaints(name: str) -> None:
    quantizer = build(name, 1)
    who, dim = type(quantizer).__name__, quantizer.dim
    before = state(quantizer)
    latents = data(3, dim, 5)
    with pytest.raises(ValueError, match=rf"latents must have size {dim} in dimension 1; got"):
        quantizer(data(3, dim + 1, 5))
    with pytest.raises(ValueError, match=rf"{who}: latents must have at least 2 dimensions.*got"):
        quantizer(data(dim))
    with pytest.raises(ValueError, match=rf"{who}: latents must be floating point; got torch.int"):
        quantizer(torch.ones(3, dim, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"must be floating point"):
        quantizer.encode(torch.ones(3, dim, 5, dtype=torch.bool))
    with pytest.raises(TypeError, match=rf"{who}: latents must be a tensor; got list"):
        quantizer([1.0])
    with pytest.raises(ValueError, match=rf"{who}: valid must have shape \(3, 5\); got \(5, 3\)"):
        quantizer(latents, torch.ones(5, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=rf"{who}: valid must be boolean; got torch.int64"):
        quantizer(latents, torch.ones(3, 5, dtype=torch.int64))
    codes = quantizer.encode(latents)
    with pytest.raises(ValueError, match=r"codes must be int64; got torch.float32"):
        quantizer.decode(codes.float())
    for wrong in (-2, 10**9):
        with pytest.raises(
            ValueError, match=rf"codes must lie in \[-1, \d+\); got values.*{wrong}"
        ):
            quantizer.decode(torch.full_like(codes, wrong))
    assert same(state(quantizer), before)
