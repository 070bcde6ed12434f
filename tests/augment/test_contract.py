"""What is true of every augmentation: the same shape, its own randomness, real samples alone."""

import inspect
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import ssltok.augment
from ssltok.augment import Augmentation

# Options under which a view of a random series surely differs from it, and the least length.
CASES: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "amplitude_resize": ({}, 1),
    "band_removal": ({"band_ratio": 0.3}, 2),
    "channel_dropout": ({"probability": 0.5}, 1),
    "crop_resize": ({"ratio_range": (0.3, 0.8)}, 2),
    "flip": ({}, 1),
    "frequency_mask": ({"mask_ratio": 0.4}, 2),
    "gaussian_noise": ({}, 1),
    "magnitude_warp": ({}, 1),
    "permutation": ({"max_segments": 2}, 2),
    "phase_shift": ({}, 3),
    "scaling": ({}, 1),
    "shift": ({}, 1),
    "slice_and_shuffle": ({"segments": 6}, 1),
    "slope": ({}, 1),
    "time_warp": ({}, 2),
    "window_warp": ({}, 2),
    "NC_VQVAE_GAUSS": ({}, 1),
    "NC_VQVAE_SLICE": ({}, 1),
    "NC_VQVAE_WARP": ({}, 2),
}
OTHERS = {
    "Augmentation", "MultiCrop", "OverlappingCrops", "SegmentPairs", "compose", "multi_crop",
    "next_segment_pairs", "overlapping_crops", "segment_order_pairs",
}  # fmt: skip
# Those that return more than one view.
SEVERAL: Mapping[str, Mapping[str, Any]] = {
    "multi_crop": {"local_length": 9, "local_views": 3},
    "overlapping_crops": {"least_overlap": 5},
}
# The published values; where they are from say the docstrings.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "amplitude_resize": {"std": 0.2},  # NC-VQVAE
    "band_removal": {"band_ratio": 0.1},  # none published
    "channel_dropout": {"probability": 0.2},  # braindecode
    "crop_resize": {"ratio_range": (0.9, 0.9)},  # Le Guennec et al.
    "flip": {"probability": 0.5},
    "frequency_mask": {"mask_ratio": 0.1},  # TF-C
    "gaussian_noise": {"std": 0.05},  # NC-VQVAE
    "magnitude_warp": {"std": 0.2, "knots": 4},  # Um et al.
    "multi_crop": {  # DINO
        "global_views": 2, "local_views": 8, "global_range": (0.4, 1.0), "local_range": (0.05, 0.4)
    },
    "overlapping_crops": {"least_overlap": 2},  # TS2Vec
    "permutation": {"max_segments": 5},  # TS-TCC
    "phase_shift": {"max_angle": math.pi / 4},  # NC-VQVAE
    "scaling": {"std": 0.1},  # TS-TCC
    "shift": {"shift_ratio": 0.5},  # VIbCReg
    "slice_and_shuffle": {"segments": 4},  # NC-VQVAE
    "slope": {"max_slope": 0.005},  # NC-VQVAE
    "time_warp": {"std": 0.2, "knots": 4},  # Um et al.
    "window_warp": {"window_ratio": 0.4, "scale_range": (0.9, 2.0)},  # NC-VQVAE
}  # fmt: skip
# What a view of a padded series may owe to the length of the padding.
BY_PLACE = {"gaussian_noise", "NC_VQVAE_GAUSS"}  # one draw for each place
BY_WHOLE = {"band_removal", "frequency_mask", "phase_shift"}  # a spectrum of the whole length
everything = pytest.mark.parametrize("name", CASES)
several = pytest.mark.parametrize("name", SEVERAL)


def augmentation_of(name: str) -> Augmentation:
    thing: Augmentation = partial(getattr(ssltok.augment, name), **CASES[name][0])
    return thing


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def views_of(name: str, series: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
    """The two tensors of views, time and channels at the end."""
    made = getattr(ssltok.augment, name)(series, **SEVERAL[name], generator=generator)
    return list(made[:2])


def series_of(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


def test_every_name_is_under_the_contract() -> None:
    assert set(ssltok.augment.__all__) == set(CASES) | OTHERS


@everything
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_dtype_and_a_view_that_differs(name: str, dtype: torch.dtype) -> None:
    series = series_of(16, 3, 40, dtype=dtype)
    before = series.clone()
    view = augmentation_of(name)(series, generator=seeded(1))
    assert view.shape == series.shape
    assert view.dtype == dtype
    assert torch.isfinite(view).all()
    assert torch.equal(series, before)
    assert not torch.equal(view, series)
    view.add_(1)  # a view of our own, not of the caller's memory
    assert torch.equal(series, before)


@everything
def test_the_generator_alone_decides(name: str) -> None:
    augmentation, series = augmentation_of(name), series_of(16, 2, 40)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = augmentation(series, generator=seeded(5))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    assert torch.equal(augmentation(series, generator=seeded(5)), first)
    assert not torch.equal(augmentation(series, generator=seeded(6)), first)


@everything
def test_without_a_generator_the_global_one_draws(name: str) -> None:
    augmentation, series = augmentation_of(name), series_of(16, 2, 40)
    torch.manual_seed(3)
    first = augmentation(series)
    assert not torch.equal(augmentation(series), first)
    torch.manual_seed(3)
    assert torch.equal(augmentation(series), first)


@everything
def test_every_series_has_its_own_parameters(name: str) -> None:
    series = series_of(1, 2, 40).expand(12, -1, -1)
    view = augmentation_of(name)(series, generator=seeded(2))
    kinds = {tuple(row.flatten().tolist()) for row in view}
    assert len(kinds) > (1 if name in {"flip", "permutation", "channel_dropout"} else 6)


@everything
def test_a_channel_is_made_of_itself_alone(name: str) -> None:
    series = series_of(4, 3, 40)
    other = series.clone()
    other[:, 1] = series_of(4, 40, seed=9)
    first, second = (augmentation_of(name)(x, generator=seeded(2)) for x in (series, other))
    assert torch.equal(first[:, [0, 2]], second[:, [0, 2]])
    assert not torch.equal(first[:, 1], second[:, 1])


@everything
def test_all_channels_are_treated(name: str) -> None:
    series = series_of(16, 3, 40)
    view = augmentation_of(name)(series, generator=seeded(2))
    assert (view != series).flatten(2).any(-1).any(0).all()


@everything
def test_short_series_and_single_ones(name: str) -> None:
    augmentation, (_, least) = augmentation_of(name), CASES[name]
    for length in range(max(least, 2), 12):
        for shape in [(1, 1, length), (3, 2, length)]:
            view = augmentation(series_of(*shape), generator=seeded(length))
            assert view.shape == shape
            assert torch.isfinite(view).all()


@everything
def test_padding_is_left_alone_and_not_read(name: str) -> None:
    series = series_of(5, 2, 30)
    valid = torch.rand(5, 30, generator=seeded(3)) < 0.7  # holes
    valid[1] = torch.arange(30) < 12  # padding behind
    valid[2] = torch.arange(30) >= 20  # padding in front
    valid[3] = torch.arange(30) == 4  # one real sample
    valid[4] = False  # none
    hidden = ~valid[:, None].expand_as(series)
    one, two = series.masked_fill(hidden, torch.nan), series.masked_fill(hidden, 1e6)
    augmentation = augmentation_of(name)
    first = augmentation(one, valid=valid, generator=seeded(4))
    second = augmentation(two, valid=valid, generator=seeded(4))
    assert torch.isnan(first[hidden]).all()
    assert torch.equal(second[hidden], two[hidden])
    assert torch.isfinite(first[~hidden]).all()
    assert torch.equal(first[~hidden], second[~hidden])
    assert not torch.equal(second[:3], two[:3])


@everything
def test_all_real_is_the_same_as_no_mask(name: str) -> None:
    series = series_of(4, 2, 30, dtype=torch.float64)
    valid = torch.ones(4, 30, dtype=torch.bool)
    augmentation = augmentation_of(name)
    torch.testing.assert_close(
        augmentation(series, valid=valid, generator=seeded(4)),
        augmentation(series, generator=seeded(4)),
    )


@everything
def test_real_samples_are_augmented_as_a_series_of_their_own(name: str) -> None:
    """Neither the number nor the place of the other samples changes what the real ones become."""
    series = series_of(3, 2, 30, dtype=torch.float64)
    scattered = torch.full((3, 2, 50), torch.nan, dtype=torch.float64)
    places = torch.randperm(50, generator=seeded(1))[:30].sort().values
    scattered[:, :, places] = series
    valid = torch.zeros(3, 50, dtype=torch.bool)
    valid[:, places] = True
    padded = torch.cat([series, torch.zeros(3, 2, 20, dtype=torch.float64)], -1)
    behind = (torch.arange(50) < 30).expand(3, -1)
    augmentation = augmentation_of(name)
    one = augmentation(scattered, valid=valid, generator=seeded(4))[:, :, places]
    two = augmentation(padded, valid=behind, generator=seeded(4))[:, :, :30]
    alone = augmentation(series, generator=seeded(4))
    if name not in BY_PLACE:
        torch.testing.assert_close(one, two)
    if name not in BY_PLACE | BY_WHOLE:
        torch.testing.assert_close(one, alone)


@everything
def test_gradients_pass_through(name: str) -> None:
    series = series_of(3, 2, 20).requires_grad_()
    augmentation_of(name)(series, generator=seeded(1)).sum().backward()
    assert series.grad is not None
    assert torch.isfinite(series.grad).all()
    assert series.grad.abs().max() > 0


@everything
def test_compiles(name: str) -> None:
    augmentation, series = augmentation_of(name), series_of(3, 2, 20)
    torch.compiler.reset()
    torch.manual_seed(0)
    expected = augmentation(series)
    torch.manual_seed(0)
    compiled = torch.compile(augmentation, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(series), expected)


@everything
def test_signature(name: str) -> None:
    parameters = inspect.signature(getattr(ssltok.augment, name)).parameters
    kinds = {key: p.kind for key, p in parameters.items()}
    assert next(iter(kinds)) == "series"
    assert list(kinds)[-2:] == ["valid", "generator"]
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for kind in list(kinds.values())[1:])


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_the_published_values(name: str) -> None:
    parameters = inspect.signature(getattr(ssltok.augment, name)).parameters
    given = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    assert given == {**DEFAULTS[name], "valid": None, "generator": None}


def test_every_default_is_listed() -> None:
    assert set(DEFAULTS) == {n for n in CASES if n.islower()} | set(SEVERAL)


@several
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_several_views_have_the_dtype_and_memory_of_their_own(
    name: str, dtype: torch.dtype
) -> None:
    series = series_of(4, 3, 40, dtype=dtype)
    before = series.clone()
    for view in views_of(name, series, seeded(1)):
        assert view.dtype == dtype
        assert torch.isfinite(view).all()
        view.add_(1)
    assert torch.equal(series, before)


@several
def test_several_views_pass_gradients(name: str) -> None:
    series = series_of(3, 2, 40).requires_grad_()
    for view in views_of(name, series, seeded(1)):
        (grad,) = torch.autograd.grad(view.sum(), series)
        # weights of a sample add up to one, so the gradients do to the number of samples
        torch.testing.assert_close(grad.sum(), torch.tensor(float(view.numel())))


@several
def test_several_views_keep_channels_apart(name: str) -> None:
    series = series_of(4, 3, 40)
    other = series.clone()
    other[:, 1] = series_of(4, 40, seed=9)
    views = zip(views_of(name, series, seeded(2)), views_of(name, other, seeded(2)), strict=True)
    for one, two in views:
        assert torch.equal(one[..., [0, 2], :], two[..., [0, 2], :])
        assert not torch.equal(one[..., 1, :], two[..., 1, :])


@several
def test_several_views_ask_for_a_generator_of_their_device(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: generator must live on the device of series"):
        views_of(name, series_of(2, 3, 40).to("meta"), seeded(0))


@several
def test_several_views_compile(name: str) -> None:
    """The sizes of overlapping crops are drawn, so that these are more than one graph."""
    series = series_of(3, 2, 40)
    torch.compiler.reset()
    torch.manual_seed(0)
    expected = views_of(name, series)
    torch.manual_seed(0)
    compiled = torch.compile(views_of, fullgraph=name == "multi_crop", backend="eager")
    for one, two in zip(compiled(name, series), expected, strict=True):
        torch.testing.assert_close(one, two)


@everything
def test_complaints(name: str) -> None:
    augmentation, (_, least) = augmentation_of(name), CASES[name]
    good = series_of(2, 3, 16)
    with pytest.raises(ValueError, match=r"series must be \(batch, channels, length\); got shape"):
        augmentation(good[0])
    with pytest.raises(ValueError, match=r"series must be floating point; got torch.int64"):
        augmentation(good.long())
    with pytest.raises(TypeError, match=r"series must be a tensor; got list"):
        augmentation([1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"batch must be >= 1; got 0"):
        augmentation(good[:0])
    with pytest.raises(ValueError, match=r"channels must be >= 1; got 0"):
        augmentation(good[:, :0])
    with pytest.raises(ValueError, match=rf"length must be >= {least}; got {least - 1}"):
        augmentation(good[:, :, : least - 1])
    with pytest.raises(ValueError, match=r"valid must be boolean; got torch.float32"):
        augmentation(good, valid=torch.ones(2, 16))
    with pytest.raises(ValueError, match=r"valid must have shape \(2, 16\); got \(2, 3, 16\)"):
        augmentation(good, valid=torch.ones(2, 3, 16, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"generator must live on the device of series; got"):
        augmentation(good.to("meta"), generator=seeded(0))
