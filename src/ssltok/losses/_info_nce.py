"""InfoNCE with a momentum encoder (MoCo): find the key of a query among many."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_same_shape,
    check_size,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._many_keys import directions
from ssltok.losses._many_keys_fast import log_sum_over_keys
from ssltok.losses._products_fast import unit_rows
from ssltok.losses._temperature import check_temperature

__all__ = ["InfoNCELoss", "info_nce_loss"]


def info_nce_loss(
    query: Tensor, key: Tensor, queue: Tensor | None = None, *, temperature: float | Tensor = 0.07
) -> Tensor:
    r"""Find each query's key: among a queue of old keys, or among the keys of the batch.

    $$-\frac{1}{B} \sum_b \log \frac{e^{q_b \cdot k_b / \tau}}
      {e^{q_b \cdot k_b / \tau} + \sum_{n \in N} e^{q_b \cdot n / \tau}}$$

    on L2-normalised rows. With a queue (MoCo v1, v2) the negatives $N$ are its rows; without one
    (MoCo v3) they are the other keys of the batch. Keys and queue are detached inside: they come
    from the momentum encoder. Push the keys into the queue **after** the loss, or every positive
    is a negative as well.

    Constants: 0.07 is MoCo v1's; v2 uses 0.2; v3 uses 1.0 in code (0.2 in its published runs),
    both directions, and a factor $2 \tau$:
    `2 * tau * (info_nce_loss(q_a, k_b, temperature=tau) + info_nce_loss(q_b, k_a, ...))`.

    Over several processes with a queue, gather the keys for the queue; the loss itself is a mean
    over local queries. Without a queue, give it `gather(query)` and `gather(key)`.

    Args:
        query: The online encoder's rows, `(batch, dim)`.
        key: The momentum encoder's rows, `(batch, dim)`; row $b$ belongs to query $b$.
        queue: Old keys, `(queue, dim)`, of any length; normalised inside.
        temperature: $\tau > 0$; a number, or a tensor of shape `()`, which may be learned.

    Returns:
        The loss, a scalar in float32 (float64 for float64 rows).

    Raises:
        ValueError: If query and key differ in shape or are not `(batch, dim)`, the queue is of
            another width or empty, there are no negatives (`batch < 2` without a queue), or the
            temperature is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import info_nce_loss
        >>> one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> round(info_nce_loss(one, other, other, temperature=1.0).item(), 4)  # log 2: a tie
        0.6931

    References:
        He et al., *MoCo*, 2020, <https://arxiv.org/abs/1911.05722>, equation 1, algorithm 1.
        Chen et al., *MoCo v3*, 2021, <https://arxiv.org/abs/2104.02057>, algorithm 1.
    """
    check_floating("info_nce_loss", "query", query)
    check_floating("info_nce_loss", "key", key)
    check_same_shape("info_nce_loss", "query and key", query, key)
    check_axes("info_nce_loss", "query", query, "batch dim")
    check_at_least("info_nce_loss", "batch", query.shape[0], 2 if queue is None else 1)
    check_temperature("info_nce_loss", "temperature", temperature)
    if queue is not None:
        check_floating("info_nce_loss", "queue", queue)
        check_axes("info_nce_loss", "queue", queue, "queue dim")
        check_at_least("info_nce_loss", "rows of the queue", queue.shape[0], 1)
        check_size("info_nce_loss", "queue", queue, 1, query.shape[1])
    with full_precision(query):
        q = unit_rows(upcast(query))
        k = directions(key, q, temperature)
        if queue is None:
            labels = torch.arange(q.shape[0], device=q.device)
            return nn.functional.cross_entropy(q @ k.mT, labels)
        positive = (q * k).sum(dim=-1)
        negatives = log_sum_over_keys(q, queue, temperature=temperature)
        return (torch.logaddexp(positive, negatives) - positive).mean()


class InfoNCELoss(nn.Module):
    """`info_nce_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, temperature: float | Tensor = 0.07) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, query: Tensor, key: Tensor, queue: Tensor | None = None) -> Tensor:
        """Return the loss of queries and keys, `(batch, dim)` each, with an optional queue."""
        return info_nce_loss(query, key, queue, temperature=self.temperature)
