"""The nearest row of a queue: a positive that is no view of the same sample."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_size
from ssltok._shared.numerics import directed, full_precision, upcast
from ssltok.losses._products import unit_rows

__all__ = ["nearest_in_queue"]


@torch.no_grad()
def nearest_in_queue(query: Tensor, queue: Tensor) -> Tensor:
    """Return the row of a queue that points most nearly where each query points.

    By cosine, and without a gradient. What it returns may stand for a view in any loss of two:
    `nnclr_loss(pred, nearest_in_queue(z, queue()))`, or `nt_xent_loss`, `cosine_regression_loss`.
    Push the queries into the queue **after** the loss, or each finds itself.

    Args:
        query: Rows, `(batch, dim)`.
        queue: Rows of past batches, `(queue, dim)`, such as those of a `FeatureQueue`.

    Returns:
        Rows of the queue as they are, `(batch, dim)`.

    Raises:
        ValueError: If shapes do not fit or the queue is empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import nearest_in_queue
        >>> queue = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
        >>> nearest_in_queue(torch.tensor([[0.1, 0.2], [0.0, 9.0], [1.0, -9.0]]), queue)
        tensor([[0.0000, 0.5000],
                [0.0000, 0.5000],
                [3.0000, 0.0000]])

    References:
        Dwibedi et al., *With a Little Help from My Friends (NNCLR)*, 2021,
        <https://arxiv.org/abs/2104.14548>, equation 2.
    """
    check_floating("nearest_in_queue", "query", query)
    check_axes("nearest_in_queue", "query", query, "batch dim")
    check_floating("nearest_in_queue", "queue", queue)
    check_axes("nearest_in_queue", "queue", queue, "queue dim")
    check_size("nearest_in_queue", "queue", queue, 1, query.shape[1])
    check_at_least("nearest_in_queue", "rows of the queue", queue.shape[0], 1)
    with full_precision(query):
        q = directed(upcast(query))[0]  # its length does not move its own maximum
        similarity = q @ unit_rows(upcast(queue).to(q.dtype)).mT
    return queue[similarity.argmax(dim=-1)]
