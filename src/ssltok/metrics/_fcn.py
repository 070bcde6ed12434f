"""FCN: the fully convolutional classifier whose features and answers judge generated series."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_positive
from ssltok._shared.numerics import full_precision
from ssltok._shared.portions import portion
from ssltok._shared.scaling import mean_and_scale
from ssltok.metrics._checks import check_known_labels
from ssltok.metrics._networks import batches, draw_parameters, module_digest, outside_modes, train

__all__ = ["FCNEncoder"]

KERNELS = (8, 5, 3)


class FCNEncoder(nn.Module):
    r"""A fully convolutional network, trained to classify series, that then encodes them.

    Three convolutions (kernels 8, 5 and 3; `width`, `2 * width` and `width` channels; output as
    long as the input), each with batch normalisation and ReLU, and the mean over time: `width`
    features. A linear layer gives the logits of the classes. Inputs are standardised per channel
    with the mean and standard deviation of the training set, so series go in in their own units.

    Get one from `FCNEncoder.fit`. It is fitted on a training split and never sees another one;
    published numbers often come from evaluators that used the test split as validation set.
    It stays in eval mode whatever its parent does, so no test series moves its statistics.

    Args:
        channels: Channels of the series.
        classes: Classes of the labels.
        width: Features; 128 in the paper.
        generator: Draws the weights.

    Raises:
        ValueError: If a size is less than 1.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import FCNEncoder
        >>> series = torch.linspace(-1, 1, 12)[:, None, None].expand(12, 1, 16)
        >>> labels = torch.arange(12) // 6  # the lower half and the upper half
        >>> generator = torch.Generator().manual_seed(0)
        >>> fcn = FCNEncoder.fit(series, labels, steps=20, width=8, generator=generator)
        >>> fcn(series).shape, fcn.logits(series).shape
        (torch.Size([12, 8]), torch.Size([12, 2]))

    References:
        Wang et al., *Time series classification from scratch with deep neural networks*, 2017,
        <https://arxiv.org/abs/1611.06455>, section II-B. As evaluator: Lee et al., 2023,
        <https://arxiv.org/abs/2303.04743>, section 4.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int = 128,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("channels", channels), ("classes", classes), ("width", width)):
            check_at_least("FCNEncoder", name, size, 1)
        self.channels, self.classes, self.width = channels, classes, width
        with torch.device("meta"):
            self.network = _FCN(channels, classes, width)
        draw_parameters(self.network, generator)
        device = self.network.head.weight.device
        for name, fill in (("mean", 0.0), ("std", 1.0)):  # float64: see `_standardize`
            buffer = torch.full((channels, 1), fill, dtype=torch.float64, device=device)
            self.register_buffer(name, buffer)
        self.eval()

    @classmethod
    def fit(
        cls,
        series: Tensor,
        labels: Tensor,
        *,
        steps: int = 500,
        batch_size: int = 16,
        width: int = 128,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-5,
        generator: torch.Generator | None = None,
    ) -> "FCNEncoder":
        """Train a classifier on a training split and return it in eval mode.

        AdamW with a cosine over `steps`; rate and decay are those of the published evaluators.

        Args:
            series: Training series, `(cases, channels, length)`, finite.
            labels: Their classes from 0, `(cases,)` int64.
            steps: Budget of training; a fixed number, because nothing is watched to stop early.
            batch_size: Cases a step.
            width: Features; 128 in the paper, fewer are faster.
            learning_rate: Of AdamW at the start.
            weight_decay: Of AdamW.
            generator: Draws weights and batches; same seed, same encoder on the same machine.

        Returns:
            The fitted encoder on the device of `series`.

        Raises:
            ValueError: If a shape or option is out of range, a label is negative, or there are
                fewer than 2 cases.
            TypeError: If an input is not a tensor, or an option not a number.
        """
        who = "FCNEncoder.fit"
        check_floating(who, "series", series)
        check_axes(who, "series", series, "cases channels length")
        check_at_least(who, "cases", len(series), 2)
        check_at_least(who, "length", series.shape[2], 1)
        check_known_labels(who, "labels", labels, len(series))
        check_at_least(who, "steps", steps, 1)
        check_at_least(who, "batch_size", batch_size, 2)
        check_positive(who, "learning_rate", learning_rate)
        check_at_least(who, "weight_decay", weight_decay, 0)
        with outside_modes(series.device):
            encoder = cls(series.shape[1], int(labels.max()) + 1, width=width, generator=generator)
            encoder.to(series.device)
            mean, scale = mean_and_scale(series.detach(), (0, 2), correction=1)
            encoder.mean.copy_(mean[0])
            encoder.std.copy_(scale[0])

            network = encoder.network
            inputs = encoder._standardize(series.detach())

            def loss(index: Tensor) -> Tensor:
                index = index.to(series.device)
                return functional.cross_entropy(network.head(network(inputs[index])), labels[index])

            order = batches(len(series), size=batch_size, steps=steps, generator=generator)
            train(network, loss, order, learning_rate, weight_decay, steps)
        return encoder

    def forward(self, series: Tensor) -> Tensor:
        """Return features, `(cases, width)`, of series `(cases, channels, length)`.

        Many series go through the network in portions: what each needs in between is freed.
        """
        check_floating("FCNEncoder", "series", series)
        check_axes("FCNEncoder", "series", series, "cases channels length")
        if series.shape[1] != self.channels:
            raise ValueError(
                f"FCNEncoder: series must have {self.channels} channels; got {series.shape[1]}"
            )
        rows = portion(len(series), series.shape[2])
        with full_precision(series):
            parts = [self.network(self._standardize(part)) for part in series.split(rows)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def logits(self, series: Tensor) -> Tensor:
        """Return the classifier's logits, `(cases, classes)`, of series."""
        features = self.forward(series)
        with full_precision(series):
            logits: Tensor = self.network.head(features)
        return logits

    def train(self, mode: bool = True) -> "FCNEncoder":  # noqa: FBT001, FBT002  as in nn.Module
        """Stay in eval mode: a parent's mode must not turn an evaluator's statistics."""
        return super().train(mode=False)

    def digest(self) -> str:
        """Return a hash of all weights and statistics: equal digests, equal encoders."""
        return module_digest(self)

    def _standardize(self, series: Tensor) -> Tensor:
        """Centre in float64, then narrow: an offset of 1e8 takes no digits; NaN if not finite."""
        x = ((series.double() - self.mean) / self.std).to(self.network.head.weight.dtype)
        return torch.where(x.isfinite().flatten(1).all(1)[:, None, None], x, torch.nan)


class _FCN(nn.Module):
    """The network alone: series to features; `head` maps features to logits."""

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        widths = (channels, width, 2 * width, width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(widths[i], widths[i + 1], kernel, bias=False)
            for i, kernel in enumerate(KERNELS)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in widths[1:])
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        for kernel, convolution, norm in zip(KERNELS, self.convolutions, self.norms, strict=True):
            x = functional.pad(x, ((kernel - 1) // 2, kernel // 2))
            x = functional.relu(norm(convolution(x)))
        return x.mean(2)
