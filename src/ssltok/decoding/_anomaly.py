"""How unusual each moment of a series is: hide stretches of tokens, ask the model for them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_codes,
    check_floating,
    check_number,
)
from ssltok.decoding._iterative import LogitsFn
from ssltok.decoding._sample import log_probability

__all__ = ["anomaly_score", "odd_widths", "score_over_time", "smoothed_score"]


def odd_widths(rates: Sequence[float], *, frames: int) -> tuple[int, ...]:
    r"""Turn shares of a grid's columns into odd numbers of columns, one for each share.

    $\lfloor r W \rfloor$ where that is odd and one more where it is even, as in the authors' code.

    Args:
        rates: $r$, each in (0, 1]; the paper takes 0.1, 0.3 and 0.5.
        frames: $W$, columns of the grid, at least 1.

    Returns:
        The widths, for `anomaly_score`.

    Raises:
        ValueError: If there is no rate, or one is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import odd_widths
        >>> odd_widths((0.1, 0.3, 0.5), frames=24)
        (3, 7, 13)
    """
    check_at_least("odd_widths", "frames", frames, 1)
    if not len(rates):
        raise ValueError("odd_widths: rates must be at least one; got none")
    for rate in rates:
        check_number("odd_widths", "rates", rate)
        if not 0 < rate <= 1:
            raise ValueError(f"odd_widths: rates must lie in (0, 1]; got {rate}")
    return tuple(int(rate * frames) | 1 for rate in rates)


def anomaly_score(
    logits_fn: LogitsFn,
    tokens: Tensor,
    *,
    mask_index: int,
    frames: int,
    widths: Sequence[int],
    groups: int = 1,
) -> Tensor:
    r"""Score each place of a grid of tokens by how little the model expects what is around it.

    For column $w$ and width $\kappa$ the columns $|w' - w| \le (\kappa - 1) / 2$ are hidden in
    every row, and the model asked for them once:

    $$a_{h,w} = \sum_\kappa \operatorname{mean}_{|w' - w| \le (\kappa - 1) / 2}
      -\log p(s_{h,w'} \mid \text{the other columns})$$

    Args:
        logits_fn: The model, as of `iterative_decode`.
        tokens: `(batch, tokens)`, int64, windows of a series, each a grid in row-major order with
            time last; -1 is padding, which is neither hidden nor counted.
        mask_index: The index of `[MASK]`, which equals the size of the codebook.
        frames: $W$, columns of the grid; `tokens` is a multiple of it.
        widths: $\kappa$, odd, each below `2 * frames`; `odd_widths` makes them of shares. One
            that is named twice counts twice.
        groups: How many pairs of column and width go through the model in one call, as a batch of
            up to `groups * batch` rows, pair after pair. What is bound in the model must be
            repeated likewise.

    Returns:
        The scores in nats, `(batch, rows, frames)`; 0 where all that is around a place is padding.

    Raises:
        ValueError: If shapes or dtypes do not fit, a width is even or out of range, `groups` is,
            or the model returns another shape.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import anomaly_score
        >>> fair_coin = lambda tokens, where: torch.zeros(int(where.sum()), 2)
        >>> tokens = torch.tensor([[0, 1, 1]])
        >>> anomaly_score(fair_coin, tokens, mask_index=2, frames=3, widths=(1, 3))  # 2 ln 2
        tensor([[[1.3863, 1.3863, 1.3863]]])

    References:
        Lee et al., *Explainable time series anomaly detection using masked latent generative
        modeling* (TimeVQVAE-AD), 2023, <https://arxiv.org/abs/2311.12550>; the authors' code.
    """
    who = "anomaly_score"
    check_axes(who, "tokens", tokens, "batch tokens")
    check_codes(who, "tokens", tokens)
    check_at_least(who, "tokens", tokens.numel(), 1)
    check_at_least(who, "frames", frames, 1)
    check_at_least(who, "groups", groups, 1)
    if tokens.shape[1] % frames:
        raise ValueError(
            f"{who}: tokens must be a multiple of the frames, {frames}; got {tokens.shape[1]}"
        )
    if not len(widths):
        raise ValueError(f"{who}: widths must be at least one; got none")
    for width in widths:
        if width % 2 == 0 or not 1 <= width < 2 * frames:
            raise ValueError(
                f"{who}: widths must be odd and lie in [1, {2 * frames - 1}]; got {width}"
            )
    columns = torch.arange(frames, device=tokens.device)
    near = [(columns - columns[:, None]).abs() <= (width - 1) // 2 for width in widths]
    pairs = torch.cat(near)  # (widths * frames, frames): which columns each pair hides
    total = torch.zeros(len(tokens), tokens.shape[1] // frames, frames, device=tokens.device)
    for number, part in enumerate(pairs.split(groups)):
        places = part.repeat(1, tokens.shape[1] // frames)
        hidden = (places[:, None] & (tokens >= 0)).flatten(0, 1)
        truth = tokens.repeat(len(part), 1)
        logits = logits_fn(truth.masked_fill(hidden, mask_index), hidden)
        truth = truth[hidden]
        if tuple(logits.shape) != (len(truth), mask_index):
            raise ValueError(
                f"{who}: logits must be (hidden places, mask_index) = "
                f"({len(truth)}, {mask_index}); got {tuple(logits.shape)}"
            )
        surprise = torch.zeros(hidden.shape, device=tokens.device)
        surprise = surprise.masked_scatter(hidden, -log_probability(logits, truth))
        grid = (len(part), len(tokens), -1, frames)
        mean = surprise.view(grid).sum(-1) / hidden.view(grid).sum(-1).clamp(min=1)
        centers = torch.arange(len(part), device=tokens.device) + number * groups
        total.index_add_(2, centers % frames, mean.permute(1, 2, 0))
    return total


def score_over_time(scores: Tensor, starts: Sequence[int], *, window: int, length: int) -> Tensor:
    """Put the scores of overlapping windows together: the mean of all windows that saw a time.

    A place of a window stands for its share of the window's samples (nearest neighbour).

    Departure: the authors add the windows up, so that times which fewer windows saw, the edges,
    score lower, and leave out what is behind the last whole step. Give a last window that ends
    with the series.

    Args:
        scores: `(windows, rows, frames)`, as of `anomaly_score`.
        starts: First sample of each window.
        window: Samples of a window.
        length: Samples of the series, at least `window`.

    Returns:
        The scores of each sample, `(rows, length)`.

    Raises:
        ValueError: If the shapes do not fit, a window is longer than the series or does not lie
            within it, or a sample is in no window.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import score_over_time
        >>> scores = torch.tensor([[[1.0, 2.0]], [[4.0, 5.0]]])  # two windows of two places
        >>> score_over_time(scores, [0, 2], window=4, length=6)  # (2 + 4) / 2 in the middle
        tensor([[1., 1., 3., 3., 5., 5.]])
    """
    who = "score_over_time"
    check_floating(who, "scores", scores)
    check_axes(who, "scores", scores, "windows rows frames")
    check_at_least(who, "frames of scores", scores.shape[2], 1)
    check_at_least(who, "window", window, 1)
    if window > length:
        raise ValueError(
            f"{who}: window must be at most the length of the series, {length}; got {window}"
        )
    if len(starts) != len(scores):
        raise ValueError(
            f"{who}: starts must be one for each of {len(scores)} windows; got {len(starts)}"
        )
    seen = torch.zeros(length)
    for start in starts:
        if not 0 <= start <= length - window:
            raise ValueError(f"{who}: starts must lie in [0, {length - window}]; got {start}")
        seen[start : start + window] += 1
    if not bool(seen.all()):
        raise ValueError(
            f"{who}: windows must see every sample; got none at {int((seen == 0).nonzero()[0])}"
        )
    total = scores.new_zeros(scores.shape[1], length)
    for start, part in zip(starts, scores.split(1), strict=True):
        total[:, start : start + window] += interpolate(part, size=window, mode="nearest")[0]
    return total / seen.to(total)


def smoothed_score(score: Tensor, *, width: int) -> Tensor:
    r"""Mix a score with its moving mean, half and half: $(a + \bar a) / 2$.

    The mean at $t$ is over samples $t - \lfloor \kappa / 2 \rfloor$ to
    $t + \lceil \kappa / 2 \rceil - 1$, fewer at the edges.

    Departure: the authors' mean of an odd width leaves its last sample out.

    Args:
        score: `(..., length)`, floating point.
        width: $\kappa$, samples of the mean, at least 1; the authors take the window's.

    Returns:
        The score, of the same shape and dtype.

    Raises:
        ValueError: If the score is not floating point or empty, or the width below 1.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import smoothed_score
        >>> smoothed_score(torch.tensor([0.0, 0.0, 6.0, 0.0]), width=3)
        tensor([0.0000, 1.0000, 4.0000, 1.5000])
    """
    check_floating("smoothed_score", "score", score)
    check_at_least("smoothed_score", "width", width, 1)
    length = score.shape[-1] if score.ndim else 0
    check_at_least("smoothed_score", "length of score", length, 1)
    times = torch.arange(length, device=score.device)
    first = (times - width // 2).clamp(min=0)
    behind = (times + (width + 1) // 2).clamp(max=length)
    sums = torch.nn.functional.pad(score.double().cumsum(-1), (1, 0))
    mean = (sums[..., behind] - sums[..., first]) / (behind - first)
    return ((score.double() + mean) / 2).to(score.dtype)
