"""The two recurrent scores as TimeGAN's code has them, for figures beside published ones."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared import sizes
from ssltok.metrics._networks import outside_modes
from ssltok.metrics._scores import Recurrent

__all__ = ["published_discriminative", "published_predictive"]

BATCH = 128
LEARNING_RATE = 1e-3


def published_discriminative(
    real: Tensor,
    generated: Tensor,
    *,
    steps: int,
    repeats: int,
    generator: torch.Generator | None,
) -> Tensor:
    """How far the accuracy on a held-out fifth of both sets is from one half, `(repeats,)`."""
    hidden, scores = max(1, real.shape[1] // 2), []
    with outside_modes(real.device):
        for _ in range(repeats):
            orders = [_order(len(part), generator) for part in (real, generated)]
            cuts = [int(0.8 * len(order)) for order in orders]
            seen, unseen = (
                [part[order[rows]] for part, order, rows in zip(
                    (real, generated), orders, slices, strict=True,
                )]
                for slices in ([slice(cut) for cut in cuts], [slice(cut, None) for cut in cuts])
            )  # fmt: skip
            network = Recurrent(real.shape[1], hidden, 1, generator).to(real.device)

            def loss() -> Tensor:
                logits = [
                    network(part[_order(len(part), generator)[:BATCH]])[:, -1, 0]  # noqa: B023
                    for part in seen  # noqa: B023
                ]
                right = functional.softplus(-logits[0]).mean()
                return right + functional.softplus(logits[1]).mean()

            _train(network, loss, steps)
            with torch.no_grad():
                answers = [network(part)[:, -1, 0] > 0 for part in unseen]
            right = torch.cat([answers[0], ~answers[1]]).double().mean()
            scores.append((right - 0.5).abs())
    return torch.stack(scores)


def published_predictive(
    real: Tensor,
    generated: Tensor,
    *,
    steps: int,
    repeats: int,
    generator: torch.Generator | None,
) -> Tensor:
    """The error of the last channel one point ahead, `(repeats,)`; NaN for one channel."""
    channels = real.shape[1]
    if channels == 1:
        return torch.full((repeats,), torch.nan, dtype=torch.float64)
    scores = []
    with outside_modes(real.device):
        for _ in range(repeats):
            network = Recurrent(channels - 1, channels // 2, 1, generator).to(real.device)

            def error(series: Tensor) -> Tensor:
                logits: Tensor = network(series[:, :-1, :-1])[:, :, 0]  # noqa: B023
                return (logits.sigmoid() - series[:, -1, 1:]).abs()

            def loss() -> Tensor:
                rows = _order(len(generated), generator)[:BATCH]
                return error(generated[rows]).mean()

            _train(network, loss, steps)
            with torch.no_grad():
                errors = [error(part).double().flatten() for part in torch.split(real, sizes.ROWS)]
            scores.append(torch.cat(errors).mean())
    return torch.stack(scores)


def _order(cases: int, generator: torch.Generator | None) -> Tensor:
    device = "cpu" if generator is None else generator.device
    return torch.randperm(cases, generator=generator, device=device)


def _train(network: nn.Module, loss: Callable[[], Tensor], steps: int) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
