"""Anomaly scores: the authors' procedure, one window and one column at a time, gives the same."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ssltok.decoding import anomaly_score, odd_widths, score_over_time, smoothed_score

CODES = 4


class Model:
    """Logits that depend on every visible token and on the place; counts its rows."""

    def __init__(self, tokens: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(tokens, CODES + 1, tokens, CODES, generator=generator).double()
        self.calls: list[int] = []

    def everywhere(self, tokens: Tensor) -> Tensor:
        """`(batch, tokens, codes)`; padding says nothing."""
        shown = torch.nn.functional.one_hot(tokens.clamp(min=0), CODES + 1).double()
        shown = shown * (tokens >= 0)[..., None]
        return torch.einsum("bik,ikjc->bjc", shown, self.table)

    def __call__(self, tokens: Tensor, where: Tensor) -> Tensor:
        self.calls.append(len(tokens))
        assert ((tokens == CODES) == where).all()
        return self.everywhere(tokens)[where]


def published(model: Model, tokens: Tensor, rows: int, width: int) -> Tensor:
    """One window, one column at a time, as the authors do it, for one width; float64."""
    frames = tokens.shape[1] // rows
    result = torch.zeros(len(tokens), rows, frames, dtype=torch.float64)
    for n, window in enumerate(tokens):
        for w in range(frames):
            half = (width - 1) // 2
            stretch = slice(max(0, w - half), w + half + 1)
            masked = window.view(rows, frames).clone()
            masked[:, stretch] = CODES
            p = model.everywhere(masked.view(1, -1))[0].softmax(-1).view(rows, frames, CODES)
            for h in range(rows):
                right = [p[h, v, window.view(rows, frames)[h, v]] for v in range(frames)[stretch]]
                result[n, h, w] = sum(-torch.log(q) for q in right) / len(right)
    return result


def published_widths(rate: float, frames: int) -> int:
    size = frames * rate
    if math.floor(size) == 0:
        return 1
    if math.floor(size) % 2:
        return math.floor(size)
    return math.ceil(size) if math.ceil(size) % 2 else int(size + 1)


def windows(count: int, tokens: int, seed: int = 1) -> Tensor:
    return torch.randint(CODES, (count, tokens), generator=torch.Generator().manual_seed(seed))


# oracle


@pytest.mark.parametrize(("rows", "frames"), [(1, 5), (3, 4), (2, 7)])
@pytest.mark.parametrize("groups", [1, 5, 100])
def test_the_published_procedure_gives_the_same(rows: int, frames: int, groups: int) -> None:
    model, tokens = Model(rows * frames), windows(3, rows * frames)
    widths = odd_widths((0.1, 0.3, 0.5, 0.5), frames=frames)
    result = anomaly_score(
        model, tokens, mask_index=CODES, frames=frames, widths=widths, groups=groups
    )
    expected = sum(published(model, tokens, rows, width) for width in widths)
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-6)
    assert max(model.calls) == 3 * min(groups, 4 * frames)
    assert sum(model.calls) == 3 * 4 * frames


def test_widths_are_the_published_ones() -> None:
    for frames in range(1, 60):
        for rate in (0.03, 0.1, 0.25, 0.3, 0.5, 0.75, 1.0):
            assert odd_widths((rate,), frames=frames) == (published_widths(rate, frames),)


def test_one_series_from_windows_to_the_final_score_as_published() -> None:
    """Where every time is seen equally often, up to the factor; the sums of the authors elsewhere.

    Their sum over windows divided by their count is our mean, on the samples that they score.
    """
    rows, frames, window, stride, length = 2, 5, 16, 3, 43
    model, starts = Model(rows * frames), [*range(0, length - window, stride), length - window]
    tokens = windows(len(starts), rows * frames)
    scores = anomaly_score(model, tokens, mask_index=CODES, frames=frames, widths=(1, 3))
    total, count = np.zeros((rows, length)), np.zeros(length)
    one = published(model, tokens, rows, 1) + published(model, tokens, rows, 3)
    for start, part in zip(starts, one, strict=True):
        spread = interpolate(part[None], size=(window,), mode="nearest")[0].numpy()
        total[:, start : start + window] += spread
        count[start : start + window] += 1
    expected = (total / count).mean(0)
    mean = score_over_time(scores, starts, window=window, length=length).mean(0)
    np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-5)
    smooth = np.array(
        [np.mean(expected[max(0, j - window // 2) : j + window // 2]) for j in range(length)]
    )
    final = smoothed_score(mean, width=window).numpy()
    np.testing.assert_allclose(final, (expected + smooth) / 2, rtol=1e-5)


def test_the_moving_mean_of_any_width() -> None:
    score = torch.rand(2, 11, generator=torch.Generator().manual_seed(0)).double()
    for width in (1, 2, 5, 8, 40):
        for t in range(11):
            part = score[:, max(0, t - width // 2) : t + (width + 1) // 2]
            expected = (score[:, t] + part.mean(1)) / 2
            torch.testing.assert_close(smoothed_score(score, width=width)[:, t], expected)


# known values


def test_a_foreign_token_stands_out_where_it_is() -> None:
    """A model that knows the period: the one wrong token has the highest score."""

    def periodic(tokens: Tensor, where: Tensor) -> Tensor:
        logits = torch.nn.functional.one_hot(torch.arange(9) % 3, 3).float() * 5
        return logits.expand(len(tokens), 9, 3)[where]

    tokens = (torch.arange(9) % 3)[None].repeat(2, 1)
    tokens[1, 4] = 0
    score = anomaly_score(periodic, tokens, mask_index=3, frames=9, widths=(1, 3, 5))
    assert score[1, 0].argmax() == 4
    assert (score[0] == score[0, 0, 0]).all()


def test_a_constant_stays_a_constant_whatever_the_overlap() -> None:
    starts = [0, 1, 5, 9, 9]
    result = score_over_time(torch.full((5, 3, 4), 2.5), starts, window=10, length=19)
    assert torch.equal(result, torch.full((3, 19), 2.5))
    assert torch.equal(smoothed_score(result, width=6), result)


# laws


def test_rows_alone_are_rows_in_a_batch_and_padding_does_not_count() -> None:
    model, tokens = Model(12), windows(4, 12)
    grid = tokens.view(4, 2, 6)
    grid[1, :, 4:] = -1
    options = {"mask_index": CODES, "frames": 6, "widths": (1, 3)}
    whole = anomaly_score(model, tokens, groups=7, **options)  # type: ignore[arg-type]
    for n in range(4):
        alone = anomaly_score(model, tokens[n : n + 1], **options)  # type: ignore[arg-type]
        torch.testing.assert_close(alone[0], whole[n])
    assert (whole[1, :, 5] == 0).all()  # nothing real around it
    column = tokens[1:2].clone()
    column.view(1, 2, 6)[:, :, 3:4] = CODES
    p = model.everywhere(column).log_softmax(-1)[0].view(2, 6, CODES)
    right = -p[torch.arange(2), 3, tokens[1].view(2, 6)[:, 3]]
    single = anomaly_score(model, tokens[1:2], mask_index=CODES, frames=6, widths=(1,))
    torch.testing.assert_close(single[0, :, 3].double(), right)


# complaints


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (1, 4)}, "widths must be odd and lie in [1, 11]; got 4"),
        ({"widths": (13,)}, "widths must be odd and lie in [1, 11]; got 13"),
        ({"widths": (-1,)}, "widths must be odd"),
        ({"widths": ()}, "widths must be at least one; got none"),
        ({"frames": 5}, "tokens must be a multiple of the frames, 5; got 12"),
        ({"frames": 0}, "frames must be >= 1; got 0"),
        ({"groups": 0}, "groups must be >= 1; got 0"),
        ({"mask_index": 9}, "logits must be (hidden places, mask_index)"),
        ({"tokens": torch.zeros(2, 12)}, "tokens must be int64"),
        ({"tokens": torch.zeros(12, dtype=torch.int64)}, "tokens must be (batch, tokens)"),
    ],
)
def test_scores_complain(change: dict[str, object], message: str) -> None:
    options = {"tokens": windows(2, 12), "mask_index": CODES, "frames": 6, "widths": (1,), **change}
    tokens = options.pop("tokens")

    def model(tokens: Tensor, where: Tensor) -> Tensor:
        return torch.zeros(int(where.sum()), CODES)

    with pytest.raises(ValueError, match="anomaly_score: ") as error:
        anomaly_score(model, tokens, **options)  # type: ignore[arg-type]
    assert message in str(error.value)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.01, math.nan])
def test_rates_out_of_range_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"odd_widths: rates must lie in \(0, 1\]; got"):
        odd_widths((0.1, rate), frames=8)
    with pytest.raises(ValueError, match="rates must be at least one; got none"):
        odd_widths((), frames=8)


@pytest.mark.parametrize(
    ("starts", "window", "length", "message"),
    [
        ([0, 1], 8, 7, "window must be at most the length of the series, 7; got 8"),
        ([0], 4, 7, "starts must be one for each of 2 windows; got 1"),
        ([0, 4], 4, 7, r"starts must lie in \[0, 3\]; got 4"),
        ([0, 4], 3, 7, "windows must see every sample; got none at 3"),
        ([-1, 3], 4, 7, r"starts must lie in \[0, 3\]; got -1"),
    ],
)
def test_windows_complain(starts: list[int], window: int, length: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"score_over_time: {message}"):
        score_over_time(torch.zeros(2, 1, 2), starts, window=window, length=length)


def test_the_mean_complains() -> None:
    with pytest.raises(ValueError, match="smoothed_score: width must be >= 1; got 0"):
        smoothed_score(torch.zeros(3), width=0)
    with pytest.raises(ValueError, match="score must be floating point"):
        smoothed_score(torch.zeros(3, dtype=torch.int64), width=3)
    with pytest.raises(ValueError, match="length of score must be >= 1; got 0"):
        smoothed_score(torch.zeros(2, 0), width=3)
