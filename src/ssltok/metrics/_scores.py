"""Scores by recurrent networks: can they tell real from generated, and learn to predict."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared import sizes
from ssltok._shared.checks import check_at_least
from ssltok._shared.scaling import mean_and_scale
from ssltok.metrics._checks import check_two_sets, one_if_finite
from ssltok.metrics._networks import batches, draw_parameters, outside_modes, train

__all__ = ["Recurrent", "discriminative_score", "predictive_score"]

LEARNING_RATE = 1e-3


def discriminative_score(
    real: Tensor,
    generated: Tensor,
    *,
    steps: int = 2000,
    batch_size: int = 128,
    hidden: int | None = None,
    repeats: int = 5,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Train a recurrent network to tell real from generated series; how far is it from guessing.

    $\lvert \text{accuracy} - 1/2 \rvert$ on a fifth of each set that was held out: 0 when they
    cannot be told apart, 1/2 when they always can. A GRU reads the standardised series; its last
    state decides.

    Departures from the published code: a width that is not 0 for one channel (there
    `channels // 2`), the mean of the accuracies on both sets (sets may differ in size), batches
    with as many real as generated series, and a spread over repeats. If windows overlap, give
    whole sources to each call: neighbours on both sides of the split are no held-out cases.

    Args:
        real: Real series, `(cases, channels, length)`, at least 5.
        generated: Generated series of the same shape a case, at least 5.
        steps: Budget of training; 2000 in the published code.
        batch_size: Cases a step, half of them real; 128 in the published code. Fewer where half
            of it is more than a set has to train on: twice as many as the smaller set.
        hidden: Width of the GRU; `max(16, channels // 2)` by default.
        repeats: Splits and networks.
        generator: Draws everything.

    Returns:
        One score in [0, 0.5] for each repeat, `(repeats,)` float64; NaN if a series is not finite.

    Raises:
        ValueError: If the shapes do not fit, or a set has fewer than 5 cases.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import discriminative_score
        >>> real = torch.zeros(20, 1, 4)
        >>> generator = torch.Generator().manual_seed(0)
        >>> discriminative_score(real, real + 9, steps=30, repeats=1, generator=generator)
        tensor([0.5000], dtype=torch.float64)

    References:
        Yoon et al., *Time-series generative adversarial networks*, 2019, section 5 (discriminative
        score); the authors' repository repeats it ten times.
    """
    who = "discriminative_score"
    hidden = _check(who, real, generated, 5, steps, batch_size, hidden, repeats)
    scores = []
    known = _narrower(real, generated)
    half = max(1, batch_size // 2)
    with outside_modes(real.device):
        for _ in range(repeats):
            seen, unseen = zip(
                *(_split(part.detach().double(), generator) for part in (real, generated)),
                strict=True,
            )
            mean, scale = mean_and_scale(torch.cat(seen), (0, 2), computed_in=known)
            seen, unseen = (
                tuple(((p - mean) / scale).float() for p in parts) for parts in (seen, unseen)
            )
            network = Recurrent(real.shape[1], hidden, 1, generator).to(real.device)
            size = min(half, *map(len, seen))  # as many real as generated, whatever the sets hold
            pairs = [batches(len(p), size=size, steps=steps, generator=generator) for p in seen]

            def loss(rows: tuple[Tensor, Tensor]) -> Tensor:
                parts = [seen[i][rows[i].to(real.device)] for i in (0, 1)]  # noqa: B023
                logits = network(torch.cat(parts))[:, -1, 0]  # noqa: B023
                truth = torch.zeros_like(logits)
                truth[: len(parts[0])] = 1
                return functional.binary_cross_entropy_with_logits(logits, truth)

            train(network, loss, zip(*pairs, strict=True), LEARNING_RATE, 0.0, steps)
            with torch.no_grad():
                share = [(network(p)[:, -1, 0] > 0).double().mean() for p in unseen]
            scores.append(((share[0] + 1 - share[1]) / 2 - 0.5).abs())
    return torch.stack(scores) * one_if_finite(real, generated)


def predictive_score(
    real: Tensor,
    generated: Tensor,
    *,
    steps: int = 5000,
    batch_size: int = 128,
    hidden: int | None = None,
    repeats: int = 5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Train a recurrent network on generated series to predict the next point; test it on real.

    The mean absolute error over all channels and times, in standard deviations of the real
    channel. Read it against the same score with real training series in place of generated ones:
    often little lies between them.

    Departures from the published code, which predicts the last channel from the others (nothing
    to read for one channel), ends in a sigmoid (data in [0, 1]) and tests on the training
    windows: all channels are predicted from all channels, outputs are linear, and the caller
    chooses the real set; a held-out one is meant.

    Args:
        real: Real series to test on, `(cases, channels, length)`, of length at least 2.
        generated: Series to train on, of the same shape a case.
        steps: Budget of training; 5000 in the published code.
        batch_size: Cases a step; 128 in the published code.
        hidden: Width of the GRU; `max(16, channels // 2)` by default.
        repeats: Networks.
        generator: Draws everything.

    Returns:
        One error >= 0 for each repeat, `(repeats,)` float64.

    Raises:
        ValueError: If the shapes do not fit, or the length is less than 2.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import predictive_score
        >>> real = torch.tensor([[[1.0, 1.0, 1.0]], [[3.0, 3.0, 3.0]]])  # next is as now
        >>> generator = torch.Generator().manual_seed(0)
        >>> bool(predictive_score(real, real, steps=300, repeats=1, generator=generator) < 0.3)
        True

    References:
        Yoon et al., *Time-series generative adversarial networks*, 2019, section 5 (predictive
        score).
    """
    who = "predictive_score"
    hidden = _check(who, real, generated, 1, steps, batch_size, hidden, repeats)
    check_at_least(who, "length", real.shape[2], 2)
    with outside_modes(real.device):
        mean, scale = mean_and_scale(real.detach(), (0, 2))
        source, target = (((x.detach() - mean) / scale).float() for x in (generated, real))
        channels = real.shape[1]
        scores = []
        for _ in range(repeats):
            network = Recurrent(channels, hidden, channels, generator).to(real.device)

            def loss(rows: Tensor) -> Tensor:
                return _next_error(network, source[rows.to(source.device)])  # noqa: B023

            order = batches(len(source), size=batch_size, steps=steps, generator=generator)
            train(network, loss, order, LEARNING_RATE, 0.0, steps)
            with torch.no_grad():
                errors = [_next_error(network, p) * len(p) for p in torch.split(target, sizes.ROWS)]
            scores.append(torch.stack(errors).sum().double() / len(target))
    return torch.stack(scores) * one_if_finite(real, generated)


class Recurrent(nn.Module):
    """A GRU and a linear layer at each time: (cases, channels, length) to (cases, length, out)."""

    def __init__(
        self, channels: int, hidden: int, out: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        with torch.device("meta"):
            self.gru = nn.GRU(channels, hidden, batch_first=True)
            self.head = nn.Linear(hidden, out)
        draw_parameters(self, generator)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.head(self.gru(x.transpose(1, 2))[0])
        return states


def _next_error(network: Recurrent, x: Tensor) -> Tensor:
    predicted: Tensor = network(x[:, :, :-1])
    return (predicted - x[:, :, 1:].transpose(1, 2)).abs().mean()


def _narrower(first: Tensor, second: Tensor) -> torch.dtype:
    """Which of the two types has the coarser rounding."""
    return max(first.dtype, second.dtype, key=lambda dtype: torch.finfo(dtype).eps)


def _split(series: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    device = "cpu" if generator is None else generator.device
    order = torch.randperm(len(series), generator=generator, device=device).to(series.device)
    count = len(series) // 5
    return series[order[count:]], series[order[:count]]


def _check(
    who: str,
    real: Tensor,
    generated: Tensor,
    least_cases: int,
    steps: int,
    batch_size: int,
    hidden: int | None,
    repeats: int,
) -> int:
    check_two_sets(who, real, generated, least_cases=least_cases)
    check_at_least(who, "steps", steps, 1)
    check_at_least(who, "batch_size", batch_size, 1)
    check_at_least(who, "repeats", repeats, 1)
    hidden = max(16, real.shape[1] // 2) if hidden is None else hidden
    check_at_least(who, "hidden", hidden, 1)
    return hidden
