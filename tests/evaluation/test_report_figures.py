"""What the figures of an evaluation draw: whose curve it is, in which frame, and what it says."""

import math
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle
from torch import Tensor

from ssltok._shared.drawing import value_range
from ssltok.evaluation import Tokens, draw_anomalies, draw_rate, evaluate
from ssltok.evaluation._figures import draw_codebook
from ssltok.evaluation._report_figures import evaluation_figures
from ssltok.evaluation._sets import Sets
from ssltok.metrics import autocorrelation, power_spectrum
from tests.evaluation.evaluated import order_of

CLASSES = [f"class {k}" for k in range(12)]


def twelve(seed: int) -> Tensor:
    """48 series of 2 channels in 12 classes, the second in large units."""
    generator = torch.Generator().manual_seed(seed)
    phase = 6.28 * torch.rand(48, 2, 1, generator=generator)
    rate = 1 + (torch.arange(48) % 12)[:, None, None] / 3
    noise = 0.1 * torch.randn(48, 2, 40, generator=generator)
    return (torch.sin(rate * torch.linspace(0, 6, 40) + phase) + noise) * torch.tensor([[1], [50]])


TRAIN, TEST = twelve(0), twelve(1)
MADE = 0.5 * twelve(2)
MADE[0, 0, 7] = 400.0
LABELS = [CLASSES[k % 12] for k in range(48)]
CODES = [torch.randint(256, (48, 9), generator=torch.Generator().manual_seed(k)) for k in range(3)]


@pytest.fixture(scope="module")
def figures() -> dict[str, tuple[str, Any]]:
    report = evaluate(
        TRAIN, TEST, MADE, encoder=lambda x: x.flatten(1),
        tokens=Tokens(CODES[0], CODES[1], CODES[2], codebook_size=256),
        train_labels=LABELS, test_labels=LABELS, generated_labels=LABELS,
    )  # fmt: skip
    assert isinstance(report.draw, partial)
    sets = report.draw.args[0]
    assert isinstance(sets, Sets)
    return evaluation_figures(sets)


def lines(axes: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {str(line.get_label()): line.get_ydata() for line in axes.lines}


@pytest.mark.parametrize(("name", "up"), [("Autocorrelation", "autocorr"), ("Spectrum", "dB")])
def test_a_curve_is_that_of_the_set_it_is_named_after(
    figures: dict[str, tuple[str, Any]], name: str, up: str
) -> None:
    def curve(x: Tensor, channel: int) -> np.ndarray[Any, Any]:
        found = autocorrelation(x) if name == "Autocorrelation" else 10 * power_spectrum(x).log10()
        return found[channel].numpy()

    for channel, axes in enumerate(figures[name][1].axes):
        drawn = lines(axes)
        np.testing.assert_allclose(drawn["real"], curve(TEST, channel), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(drawn["generated"], curve(MADE, channel), rtol=1e-4, atol=1e-4)
        assert up in axes.get_ylabel()
        assert axes.get_title() == f"channel {channel}"


def test_values_are_drawn_in_the_range_of_the_real_ones(
    figures: dict[str, tuple[str, Any]],
) -> None:
    axes = figures["Values"][1].axes[0]
    real, made = (x[:, 0].flatten().numpy() for x in (TEST, MADE))
    low, high = np.quantile(real, [0.005, 0.995])
    margin = 0.2 * (high - low)
    assert axes.get_xlim() == pytest.approx((low - margin, high + margin), rel=1e-5)
    edges = np.linspace(low - margin, high + margin, 61)
    drawn = lines(axes)
    assert list(drawn) == ["real, 0 % outside", "generated, 0.052 % outside"]  # 1 of 1920
    for values, density in zip((real, made), drawn.values(), strict=True):
        expected = np.histogram(values, bins=edges)[0] / len(values) / np.diff(edges)
        np.testing.assert_allclose(density, expected, rtol=1e-4, atol=1e-6)


def test_a_neighbour_is_the_nearest_in_scaled_channels(
    figures: dict[str, tuple[str, Any]],
) -> None:
    said, figure = figures["Nearest neighbours"]
    std = TRAIN.std((0, 2), correction=0)[:, None]
    codes = torch.arange(48) % 12
    # Labels are numbered in sorted order: "class 10" before "class 2".
    rank = torch.tensor([sorted(CLASSES).index(name) for name in CLASSES])
    shown = MADE[order_of("generated", MADE, rank[codes], CODES[2])[:6]]
    unscaled = 0
    for axes, mine in zip(figure.axes, shown, strict=True):
        apart = ((TRAIN - mine) / std).square().sum((1, 2))
        unscaled += int((TRAIN - mine).square().sum((1, 2)).argmin() != apart.argmin())
        drawn = lines(axes)
        np.testing.assert_array_equal(drawn["generated"], mine[0].numpy())
        np.testing.assert_array_equal(drawn["training"], TRAIN[apart.argmin(), 0].numpy())
    assert unscaled > 0, "the series must be such that the units matter"
    assert figure.axes[3].get_xlabel() == "time"
    assert figure.axes[0].get_ylabel() == "channel 0"
    assert "channel 0 is drawn" in said


def test_classes_are_in_their_order_and_one_wild_series_hides_nothing(
    figures: dict[str, tuple[str, Any]],
) -> None:
    said, figure = figures["Series by class"]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:6] == CLASSES[:6]
    assert titles[6:] == [""] * 6
    assert [figure.axes[k].get_ylabel() for k in (0, 6)] == ["real", "generated"]
    low, high = TEST[:, 0].min().item(), TEST[:, 0].max().item()
    margin = 0.2 * (high - low)
    assert figure.axes[0].get_ylim() == pytest.approx((low - margin, high + margin), rel=1e-5)
    assert said == (
        "Test series above, generated series below; 6 of 12 classes; channel 0; "
        "1 of 48 generated series leave the frame."
    )
    for row, x in ((0, TEST), (6, MADE)):
        drawn = {line.get_ydata().tobytes() for line in figure.axes[row].lines}
        assert drawn == {x[k, 0].numpy().tobytes() for k in (0, 12, 24, 36)}


def test_classes_that_are_numbers_are_sorted_as_numbers() -> None:
    labels = [k % 12 - 1 for k in range(48)]
    report = evaluate(
        TRAIN, TEST, MADE, encoder=lambda x: x.flatten(1),
        train_labels=labels, test_labels=labels, generated_labels=labels,
    )  # fmt: skip
    figure = evaluation_figures(report.draw.args[0])["Series by class"][1]  # type: ignore[attr-defined]
    assert [axes.get_title() for axes in figure.axes[:3]] == ["class -1", "class 0", "class 1"]


def test_maps_say_how_many_lie_outside(figures: dict[str, tuple[str, Any]]) -> None:
    axes = figures["Features"][1].axes[0]
    assert axes.get_title() == "PCA (1 of 48 generated outside)"
    real = np.asarray(axes.collections[0].get_offsets())
    assert axes.collections[0].get_label() == "real"
    assert axes.get_xlim() == pytest.approx(value_range(real[:, 0], share=0.005))


def test_many_codes_are_steps_sorted_by_their_share_in_real_series(
    figures: dict[str, tuple[str, Any]],
) -> None:
    drawn = lines(figures["Tokens"][1].axes[0])
    counts = [torch.bincount(c.flatten(), minlength=256).numpy() for c in CODES[1:]]
    order = np.argsort(-counts[0], kind="stable")
    np.testing.assert_allclose(drawn["real"], counts[0][order] / 432)
    np.testing.assert_allclose(drawn["generated"], counts[1][order] / 432)
    bars = draw_codebook(np.array([[0, 1, 1]]), np.array([[2, -1, -1]]), 4).axes[0]
    heights = [bar.get_height() for bar in cast("list[Rectangle]", bars.patches)]
    assert heights == pytest.approx([1 / 3, 2 / 3, 0, 0, 0, 0, 1, 0])


@pytest.mark.parametrize("cases", [4, 30])
def test_an_encoder_of_one_feature_has_its_map(cases: int) -> None:
    sets = [x[:cases] for x in (TRAIN, TEST, MADE)]
    report = evaluate(*sets, encoder=lambda x: x.mean((1, 2), keepdim=True).flatten(1))
    figure = evaluation_figures(report.draw.args[0])["Features"][1]  # type: ignore[attr-defined]
    assert [axes.get_title()[:3] for axes in figure.axes] == ["PCA"]
    offsets = np.asarray(figure.axes[0].collections[0].get_offsets())
    assert offsets.shape == (cases, 2)
    assert not offsets[:, 1].any()


def test_a_range_of_equal_values_is_wide_enough_to_draw() -> None:
    assert value_range(np.array([2.0, 2.0, math.nan])) == (1.0, 3.0)
    assert value_range(np.array([0.0, 10.0])) == (-2.0, 12.0)


def test_unusual_series_are_those_with_the_highest_scores() -> None:
    x, scores = TEST[:5].numpy(), np.zeros((5, 40), dtype=np.float32)
    scores[3, 10:13], scores[1, 20] = (4, 5, 6), 9
    scores[4, 30:] = np.nan
    figure = draw_anomalies(x, scores, 4.5, shown=2)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["series 1", "series 3"]
    first, second, *scored = figure.axes
    assert np.array_equal(np.asarray(first.lines[0].get_ydata()), x[1, 0])
    assert np.asarray(second.lines[1].get_xdata()).tolist() == [11, 12]
    assert [[text.get_text() for text in axes.texts] for axes in scored] == [["threshold "]] * 2
    heights = [axes.get_ylim() for axes in scored]
    assert heights[0] == heights[1], "scores of two series can be compared"
    figure = draw_anomalies(x, scores, math.nan)
    assert not any(axes.texts for axes in figure.axes)


@pytest.mark.parametrize("chosen", [1, None])
def test_the_rate_shows_its_curve_and_what_was_chosen(chosen: int | None) -> None:
    axes = draw_rate([60, 30, 20], [0.99, 0.7, 0.2], chosen=chosen, wanted=0.6).axes[0]
    lines = {line.get_label(): np.asarray(line.get_xydata()) for line in axes.get_lines()}
    np.testing.assert_array_equal(
        axes.get_lines()[0].get_xydata(), [[60, 0.99], [30, 0.7], [20, 0.2]]
    )
    assert ("chosen" in lines) is (chosen is not None)
    if chosen is not None:
        np.testing.assert_array_equal(lines["chosen"], [[30, 0.7]])
    assert lines["wanted"][0][1] == 0.6
