"""The plot helpers: what each draws, the laws they share, and complaints."""

import io
import subprocess
import sys
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ssltok import plots
from ssltok._shared.drawing import GENERATED, REAL
from ssltok.plots import (
    plot_anomaly,
    plot_embedding,
    plot_imputation,
    plot_samples,
    plot_tokens,
)

RANDOM = np.random.default_rng(0)
SERIES = RANDOM.normal(size=(2, 12)).cumsum(1)  # two channels of 12 samples
GAPPED = np.where(np.arange(12) % 6 < 3, SERIES, np.nan)
DRAWS = SERIES + RANDOM.normal(size=(7, 2, 12))
CODES = np.array([[3, 3, 1, 40], [0, 2, 2, -1]])
SCORES = np.array([1.0, 2, 1, 9, 8, 1, 2, 1, 1, 7, 1, np.nan])
POINTS = RANDOM.normal(size=(9, 4)) * [5.0, 0.1, 2.0, 1.0]
LABELS = list("babcabacb")

CASES: dict[str, partial[None]] = {
    "plot_samples": partial(plot_samples, series=DRAWS, reference=SERIES[None], channel=1, shown=5),
    "plot_tokens": partial(plot_tokens, series=SERIES, codes=CODES, channel=1),
    "plot_imputation": partial(
        plot_imputation, series=GAPPED, draws=DRAWS, truth=SERIES, interval=0.5, channel=1
    ),
    "plot_anomaly": partial(
        plot_anomaly, series=SERIES, scores=SCORES, threshold=5.0, highest=11.0, channel=1
    ),
    "plot_embedding": partial(plot_embedding, points=POINTS, labels=LABELS),
}
"""One call of each function with every option away from its default."""


def panel() -> Any:
    return Figure().subplots()


def drawn(axes: Any) -> bytes:
    stream = io.BytesIO()
    axes.figure.savefig(stream, format="png", dpi=60)
    return stream.getvalue()


def line(axes: Any, label: str) -> Any:
    return next(one for one in axes.lines if one.get_label() == label)


# Laws.
def test_every_function_has_its_case() -> None:
    assert sorted(CASES) == sorted(plots.__all__)


@pytest.mark.parametrize("name", CASES)
def test_a_tensor_is_drawn_as_its_array_and_nothing_is_changed(name: str) -> None:
    case = CASES[name]
    arrays = {k: v for k, v in case.keywords.items() if isinstance(v, np.ndarray)}
    before = {key: value.copy() for key, value in arrays.items()}
    # A tensor may have a gradient, and an array be read-only.
    tensors = {
        key: torch.tensor(value, requires_grad=value.dtype.kind == "f")
        for key, value in arrays.items()
    }
    for array in arrays.values():
        array.flags.writeable = False
    first, second = panel(), panel()
    assert case(first) is None
    case(second, **tensors)
    assert drawn(first) == drawn(second)
    for key, value in arrays.items():
        np.testing.assert_array_equal(value, before[key])
        value.flags.writeable = True


@pytest.mark.parametrize("name", CASES)
def test_it_draws_into_the_axis_alone(name: str) -> None:
    """The neighbour, the global settings and the list of open figures stay as they are."""
    figure = Figure()
    mine, other = figure.subplots(1, 2)
    settings = {**mpl.rcParams, "backend": mpl.get_backend()}
    children = len(other.get_children())
    CASES[name](mine)
    assert len(other.get_children()) == children
    assert not other.lines
    assert {**mpl.rcParams, "backend": mpl.get_backend()} == settings
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("axes", [None, Figure(), np.array([1, 2])], ids=["none", "figure", "grid"])
def test_asks_for_one_panel_and_says_what_to_install(name: str, axes: Any) -> None:
    pattern = rf"{name}: axes must be matplotlib axes.*got {type(axes).__name__}.*pip install"
    with pytest.raises(TypeError, match=pattern):
        CASES[name](axes)


@pytest.mark.parametrize("name", [n for n in CASES if "channel" in CASES[n].keywords])
@pytest.mark.parametrize("channel", [-1, 2])
def test_refuses_a_channel_that_is_not_there(name: str, channel: int) -> None:
    with pytest.raises(ValueError, match=rf"{name}: channel must lie in \[0, 1\].*got {channel}"):
        CASES[name](panel(), channel=channel)


@pytest.mark.parametrize("name", CASES)
def test_refuses_what_is_no_number_or_has_no_values(name: str) -> None:
    key = next(iter(CASES[name].keywords))
    for wrong, error in ((np.array([["a", "b"]]), TypeError), (np.zeros((0, 2)), ValueError)):
        with pytest.raises(error, match=rf"{name}: {key} must"):
            CASES[name](panel(), **{key: wrong})
    with pytest.raises(ValueError, match=rf"{name}: {key} must .*got shape \(1, 1, 1, 1\)"):
        CASES[name](panel(), **{key: np.ones((1, 1, 1, 1))})


def test_without_matplotlib_the_package_imports_and_a_figure_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import ssltok.plots\n"
        "import ssltok.evaluation as e\n"
        "try: e.draw_overlay\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pip install 'ssltok[pipelines]'" in done.stdout
    assert done.stdout.startswith("draw_overlay: needs matplotlib")


# Known values.
def test_samples_show_the_first_of_each_set_in_the_range_of_the_reference() -> None:
    axes = panel()
    wild = DRAWS.copy()
    wild[0] = 1e4
    plot_samples(axes, wild, reference=DRAWS, channel=1, shown=3, color="green")
    assert [one.get_color() for one in axes.lines] == [REAL] * 3 + ["green"] * 3
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), DRAWS[1, 1])
    np.testing.assert_array_equal(axes.lines[4].get_ydata(), wild[1, 1])
    low, high = DRAWS[:, 1].min(), DRAWS[:, 1].max()
    assert axes.get_ylim() == pytest.approx((low - 0.2 * (high - low), high + 0.2 * (high - low)))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["real", "generated"]


def test_samples_alone_have_no_legend() -> None:
    axes = panel()
    plot_samples(axes, DRAWS[:, 0])
    assert axes.get_legend() is None
    assert {one.get_color() for one in axes.lines} == {GENERATED}
    assert len(axes.lines) == 7


def test_a_token_lies_under_its_samples_and_low_frequencies_lie_low() -> None:
    axes = panel()
    plot_tokens(axes, SERIES[1], CODES)
    left, right, bottom, top = axes.images[0].get_extent()
    assert (left, right) == (-0.5, 11.5)
    low, high = SERIES[1].min(), SERIES[1].max()
    assert top == pytest.approx(low - 0.2 * (high - low))
    assert bottom < top
    middle = (bottom + top) / 2
    texts = [(text.get_position(), text.get_text()) for text in axes.texts]
    assert len(texts) == 7  # of eight tokens, one is padding
    for (time, up), name in texts:
        row, token = int(up > middle), int((time + 0.5) / 3)
        assert str(CODES[row, token]) == name
        assert time == pytest.approx(3 * token + 1)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), SERIES[1])
    assert all(low - 0.2 * (high - low) < tick <= axes.get_ylim()[1] for tick in axes.get_yticks())


def test_a_code_has_one_colour_wherever_it_occurs() -> None:
    one, other = panel(), panel()
    plot_tokens(one, SERIES, CODES)
    plot_tokens(other, SERIES, np.array([40, 3]))
    first, second = one.images[0].get_array(), other.images[0].get_array()
    np.testing.assert_array_equal(first[0, 0], first[0, 1])  # 3 and 3
    np.testing.assert_array_equal(first[0, 3], second[0, 0])  # 40
    np.testing.assert_array_equal(first[0, 0], second[0, 1])
    assert first[1, 3, 3] == 0  # padding can be seen through
    colours = {tuple(cell) for cell in first.reshape(-1, 4)}
    assert len(colours) == 6  # 0, 1, 2, 3, 40 and padding


def test_many_tokens_have_no_numbers() -> None:
    axes = panel()
    plot_tokens(axes, SERIES, np.arange(41))
    assert not axes.texts


def test_imputation_draws_the_quantiles_in_the_gaps_and_meets_the_known_values() -> None:
    axes = panel()
    plot_imputation(axes, GAPPED, DRAWS, interval=0.5, channel=1)
    missing = np.isnan(GAPPED[1])
    median = line(axes, "median of 7 draws").get_ydata()
    np.testing.assert_allclose(median[missing], np.sort(DRAWS[:, 1, missing], axis=0)[3])
    edges = [2, 6, 8]  # the known samples beside a gap
    np.testing.assert_array_equal(median[edges], SERIES[1, edges])
    assert np.isnan(median[[0, 1, 7]]).all()
    band = axes.collections[0]
    assert band.get_label() == "50% of the draws"
    corners = {(round(float(x)), round(float(y), 9)) for x, y in band.get_paths()[0].vertices}
    ordered = np.sort(DRAWS[:, 1, 4])
    low, high = (ordered[1] + ordered[2]) / 2, (ordered[4] + ordered[5]) / 2
    assert {(4, round(low, 9)), (4, round(high, 9))} <= corners
    assert [patch.get_x() for patch in axes.patches] == [2.5, 8.5]  # the shaded gaps
    assert [patch.get_width() for patch in axes.patches] == [3.0, 3.0]


def test_imputation_shows_the_truth_in_the_gaps_alone() -> None:
    axes = panel()
    plot_imputation(axes, GAPPED[0], DRAWS[:, 0], truth=SERIES[0])
    truth = line(axes, "truth").get_ydata()
    np.testing.assert_array_equal(np.isnan(truth), np.isin(np.arange(12), [0, 1, 7]))
    np.testing.assert_array_equal(truth[9:], SERIES[0, 9:])


def test_panels_that_share_an_axis_show_all_of_each_other() -> None:
    left, right = Figure().subplots(1, 2, sharey=True)
    plot_imputation(left, 100 * GAPPED[0], 100 * DRAWS[:, 0])
    plot_imputation(right, GAPPED[0] - 900.0, DRAWS[:, 0] - 900.0)
    low, high = left.get_ylim()
    known = 100 * GAPPED[0][~np.isnan(GAPPED[0])]
    assert low < -900 + np.nanmin(GAPPED[0])
    assert high > known.max() + 0.2 * (known.max() - known.min()), "the legend covers nothing"


def test_the_end_of_a_shorter_series_is_no_gap() -> None:
    """Draws are NaN there too, in the rows of a batch that end early."""
    axes = panel()
    draws = DRAWS[:, 0].copy()
    draws[:, 9:] = np.nan
    plot_imputation(axes, GAPPED[0], draws)
    assert [patch.get_x() for patch in axes.patches] == [2.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": DRAWS[..., :11]}, "draws must be as long as the series, 12; got 11"),
        ({"truth": SERIES[:, :3]}, "truth must be as long as the series, 12; got 3"),
        ({"series": SERIES}, "series must have NaN where there are draws; got none"),
        ({"interval": 1.0}, r"interval must lie in \(0, 1\); got 1.0"),
    ],
)
def test_imputation_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"plot_imputation: {message}"):
        CASES["plot_imputation"](panel(), **options)


def test_anomalies_mark_what_lies_above_the_threshold_and_no_more() -> None:
    axes = panel()
    plot_anomaly(axes, SERIES, SCORES, threshold=7.0, channel=1)
    marks = line(axes, "unusual, 2 samples")
    np.testing.assert_array_equal(marks.get_xdata(), [3, 4])  # 7 itself is usual
    np.testing.assert_array_equal(marks.get_ydata(), SERIES[1, [3, 4]])
    below = axes.figure.axes[1]
    assert below.lines[0].get_ydata()[0] == 7.0
    assert below.get_ylim()[0] == 0.0
    assert below.get_ylim()[1] > 2 * 9.0  # the scores stay in the lower part
    low = axes.transData.transform((0, SERIES[1].min()))[1]
    top = below.transData.transform((0, 9.0))[1]
    assert top < low, "the scores do not touch the series"


def test_panels_of_one_highest_score_can_be_compared() -> None:
    one, other = Figure().subplots(1, 2)
    plot_anomaly(one, SERIES, SCORES, highest=9.0)
    plot_anomaly(other, SERIES, SCORES / 3, highest=9.0)
    scored = one.figure.axes[2:]
    assert scored[0].get_ylim() == scored[1].get_ylim()
    lower = Figure().subplots()
    plot_anomaly(lower, SERIES, SCORES, highest=2.0)
    assert lower.figure.axes[1].get_ylim() == scored[0].get_ylim(), "no score is cut"


def test_without_a_threshold_nothing_is_marked() -> None:
    axes = panel()
    plot_anomaly(axes, SERIES, SCORES)
    assert [one.get_label() for one in axes.lines] == ["series"]
    assert not axes.figure.axes[1].lines


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (SCORES[:5], "scores must be one for each of 12 samples; got 5"),
        (np.full(12, np.nan), "scores must hold a number; got NaN alone"),
    ],
)
def test_anomalies_refuse(scores: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"plot_anomaly: {message}"):
        plot_anomaly(panel(), SERIES, scores)


def test_an_embedding_of_many_features_is_its_principal_plane() -> None:
    axes = panel()
    plot_embedding(axes, POINTS)
    drawn_points = np.asarray(axes.collections[0].get_offsets())
    values, vectors = np.linalg.eigh(np.cov(POINTS.T))
    for place in (0, 1):
        expected = (POINTS - POINTS.mean(0)) @ vectors[:, -1 - place]
        sign = np.sign(expected @ drawn_points[:, place])
        np.testing.assert_allclose(drawn_points[:, place], sign * expected, atol=1e-9)
    share = f"{100 * values[-1] / values.sum():.0f} %"
    assert axes.get_xlabel() == f"component 1 ({share} of the variance)"
    assert axes.get_legend() is None


def test_two_features_are_drawn_as_they_are_in_the_colour_of_their_class() -> None:
    axes = panel()
    plot_embedding(
        axes, POINTS[:, :2], LABELS, classes=["c", "a", "b", "none"], colors=["red", "green"]
    )
    for cloud, name in zip(axes.collections, "cab", strict=False):
        rows = [label == name for label in LABELS]
        np.testing.assert_array_equal(np.asarray(cloud.get_offsets()), POINTS[rows, :2])
    reds = [mpl.colors.to_hex(c.get_facecolor()[0]) for c in axes.collections[:3]]
    assert reds == [mpl.colors.to_hex(c) for c in ("red", "green", "red")]
    assert not axes.get_xlabel()
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["c", "a", "b", "none"]


def test_fewer_cases_than_axes_still_have_a_plane() -> None:
    axes = panel()
    plot_embedding(axes, np.array([[1.0, 2.0, 3.0]]), ["a"])
    np.testing.assert_array_equal(np.asarray(axes.collections[0].get_offsets()), [[0.0, 0.0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": POINTS[:, :1]}, r"points must be \(cases, dim >= 2\); got shape \(9, 1\)"),
        ({"points": POINTS * np.inf}, "points must be finite; got"),
        ({"labels": ["a"]}, "labels must be one of the classes for each of 9 points; got 1"),
        ({"classes": ["a", "b"]}, "labels must be one of the classes.*'c'.* in no class"),
    ],
)
def test_an_embedding_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"plot_embedding: {message}"):
        CASES["plot_embedding"](panel(), **options)


def test_codes_are_integers() -> None:
    with pytest.raises(TypeError, match="plot_tokens: codes must be integers; got float64"):
        plot_tokens(panel(), SERIES, CODES.astype(float))
    with pytest.raises(ValueError, match=r"plot_tokens: codes must be .* got shape \(1, 2, 4\)"):
        plot_tokens(panel(), SERIES, CODES[None])
