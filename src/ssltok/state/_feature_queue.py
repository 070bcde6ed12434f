"""A queue of features of past batches: many negatives at the price of few."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssltok._shared.checks import check_at_least, check_axes, check_floating
from ssltok._shared.transforms import can_be_read

__all__ = ["FeatureQueue"]


class FeatureQueue(nn.Module):
    """The last `size` features, oldest overwritten first; it begins with random unit vectors.

    `forward` reads the queue, `update` pushes. It is always full, as published: until `size`
    features have been pushed, random directions stand in for the missing ones. A batch of any
    size fits: it wraps around the end, and of a batch larger than the queue the last `size` rows
    stay.

    Push after the backward pass. A push in between would change a tensor that the backward pass
    needs, and torch says so with an error. Over several processes push the gathered features, in
    the same order everywhere: `queue.update(gather(keys))`. The queues then stay equal if they
    began equal, that is with equally seeded generators or one `state_dict`.

    Args:
        size: How many features are kept ($K$; 65,536 in the paper).
        dim: The width of a feature.
        generator: The source of the first random directions.

    Raises:
        ValueError: If `size < 1` or `dim < 1`.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.state import FeatureQueue
        >>> queue = FeatureQueue(3, 1)
        >>> queue.update(torch.tensor([[1.0], [2.0]]))
        >>> queue.update(torch.tensor([[3.0], [4.0]]))
        >>> queue()[:, 0]
        tensor([4., 2., 3.])

    References:
        He et al., *MoCo*, 2020, <https://arxiv.org/abs/1911.05722>, section 3.2, algorithm 1.
    """

    features: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int, *, generator: torch.Generator | None = None) -> None:
        check_at_least("FeatureQueue", "size", size, 1)
        check_at_least("FeatureQueue", "dim", dim, 1)
        super().__init__()
        self.size, self.dim = size, dim
        device = generator.device if generator is not None else None
        first = torch.randn(size, dim, generator=generator, device=device)
        self.register_buffer("features", normalize(first, dim=-1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64, device=device))

    def forward(self) -> Tensor:
        """Return all features, `(size, dim)`; a reference to the buffer, not a copy."""
        return self.features

    @torch.no_grad()
    def update(self, features: Tensor) -> None:
        """Overwrite the oldest features by `features`, `(batch, dim)`, without a host sync.

        A row with NaN or an infinity is left out: it would spoil every loss until it is old.

        Raises:
            ValueError: If `features` is not floating point or not `(batch, dim)`.
            TypeError: If an input is not a tensor.
        """
        check_floating("FeatureQueue", "features", features)
        check_axes("FeatureQueue", "features", features, "batch dim")
        if features.shape[1] != self.dim:
            raise ValueError(
                f"FeatureQueue: features must have {self.dim} columns; got {features.shape[1]}"
            )
        features = features.to(self.features.dtype)
        if can_be_read(features) and math.isfinite(features.sum(dtype=torch.float32).item()):
            count = min(len(features), self.size)
            places = torch.arange(len(features) - count, len(features)).add_(self.position)
            self.features.index_copy_(
                0, places.remainder_(self.size), features[len(features) - count :]
            )
            self.position.add_(len(features)).remainder_(self.size)
        else:
            self._push_finite(features)

    def _push_finite(self, features: Tensor) -> None:
        finite = features.sum(dim=1, dtype=torch.float32).isfinite()  # one fast pass
        count = finite.sum()
        order = finite.logical_not().byte().argsort(stable=True)  # the finite ones, oldest first
        back = torch.arange(1, min(len(order), self.size) + 1, device=finite.device)
        places = (self.position + count - back).remainder_(self.size)
        rows = features[order[(count - back).clamp(min=0)]]
        rows = torch.where((back <= count).unsqueeze(1), rows, self.features[places])
        self.features.index_copy_(0, places, rows)
        self.position.add_(count).remainder_(self.size)
