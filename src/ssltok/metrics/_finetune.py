"""Fine-tuning: how good a start the encoder is when all of it may move."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.metrics._checks import check_known_labels, check_two_sets, one_if_finite
from ssltok.metrics._networks import accuracy, batches, draw_parameters, encode, train

__all__ = ["fine_tune_accuracy"]


def fine_tune_accuracy(
    encoder: nn.Module,
    series: Tensor,
    labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    steps: int = 200,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    repeats: int = 3,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Train a copy of the encoder with a linear head on labelled series, and test it.

    The encoder itself does not change. For transfer, give the series of another dataset; for the
    worth of pre-training, compare with the score of an encoder that was not trained.

    Args:
        encoder: A module from `(batch, channels, length)` to one row a case, `(batch, dim)` or
            more axes, which are flattened.
        series: Training series, `(cases, channels, length)`; both sets are cast to the type of
            the encoder's parameters.
        labels: Their classes from 0, `(cases,)` int64.
        test: Test series with the same channels.
        test_labels: Their classes, `(cases,)` int64.
        steps: Budget of training.
        batch_size: Cases a step.
        learning_rate: Of AdamW at the start of a cosine.
        repeats: Runs, each with another head and other batches.
        generator: Draws heads and batches. Dropout of the encoder draws from torch's global state.

    Returns:
        One accuracy in [0, 1] for each repeat, `(repeats,)` float64; NaN if a series is not finite
        or the tuned encoder returns a NaN.

    Raises:
        ValueError: If shapes or options do not fit, or a label is negative.
        TypeError: If the encoder is not a module.

    Example:
        >>> import torch
        >>> from ssltok.metrics import fine_tune_accuracy
        >>> encoder = torch.nn.Flatten()
        >>> series = torch.tensor([-1.0, -2.0, 1.0, 2.0])[:, None, None].expand(4, 1, 3)
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> generator = torch.Generator().manual_seed(0)
        >>> options = {"steps": 100, "learning_rate": 0.1, "generator": generator}
        >>> fine_tune_accuracy(encoder, series, labels, series, labels, repeats=1, **options)
        tensor([1.], dtype=torch.float64)
    """
    who = "fine_tune_accuracy"
    if not isinstance(encoder, nn.Module):
        raise TypeError(f"{who}: encoder must be a module; got {type(encoder).__name__}")
    check_two_sets(who, series, test, names=("series", "test"), same_length=False)
    check_known_labels(who, "labels", labels, len(series))
    check_known_labels(who, "test_labels", test_labels, len(test))
    check_at_least(who, "steps", steps, 1)
    check_at_least(who, "batch_size", batch_size, 1)
    check_at_least(who, "repeats", repeats, 1)
    check_positive(who, "learning_rate", learning_rate)
    with torch.inference_mode(mode=False):
        known = next((p.dtype for p in encoder.parameters() if p.is_floating_point()), series.dtype)
        series, test = series.detach().to(known), test.detach().to(known)
        dim = encode(encoder, series[:1]).flatten(1).shape[1]
        classes = int(labels.max()) + 1
        scores = []
        for _ in range(repeats):
            with torch.device("meta"):
                head = nn.Linear(dim, classes)
            draw_parameters(head, generator)
            model = _Classifier(copy.deepcopy(encoder), head.to(series.device))
            model.requires_grad_(requires_grad=True)

            def loss(index: Tensor) -> Tensor:
                rows = index.to(series.device)
                return functional.cross_entropy(model(series[rows]), labels[rows])  # noqa: B023

            order = batches(len(series), size=batch_size, steps=steps, generator=generator)
            train(model, loss, order, learning_rate, 1e-5, steps)
            scores.append(accuracy(encode(model, test), test_labels))
    return torch.stack(scores) * one_if_finite(series, test)


class _Classifier(nn.Module):
    """An encoder and a linear head in single precision."""

    def __init__(self, encoder: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, series: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(series).flatten(1).to(self.head.weight.dtype))
        return logits
