"""ReSSL: a student should be as near to each row of a queue as its teacher is, only less surely."""

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
from ssltok.losses._products_fast import unit_rows
from ssltok.losses._temperature import check_temperature, in_precision

__all__ = ["ReSSLLoss", "ressl_loss"]


def ressl_loss(
    query: Tensor,
    key: Tensor,
    queue: Tensor,
    *,
    temperature: float | Tensor = 0.1,
    teacher_temperature: float | Tensor = 0.04,
) -> Tensor:
    r"""Measure the divergence of a student's similarities to a queue from its teacher's.

    $$\frac{1}{B} \sum_b \mathrm{KL}\bigl(\mathrm{softmax}_n(k_b \cdot n / \tau_t) \,\Vert\,
      \mathrm{softmax}_n(q_b \cdot n / \tau_s)\bigr)$$

    over the rows $n$ of the queue, on L2-normalised rows. The teacher sees the weaker view and has
    the lower temperature, so that its few nearest rows decide. No row is a positive: what is
    learned is the relation to others. Keys and queue are detached.

    The authors' code has the cross-entropy: the same gradient, and the teacher's entropy more; here
    0 means that the two agree.

    Over several processes gather the keys for the queue; the loss is a mean over local queries.

    Args:
        query: The student's rows, `(batch, dim)`.
        key: The teacher's rows of the weaker view, of the same shape.
        queue: Old keys, `(queue, dim)`, of any length; normalised inside.
        temperature: $\tau_s > 0$ of the student; 0.1 in the paper. A number, or a tensor of shape
            `()`, which may be learned.
        teacher_temperature: $\tau_t > 0$, likewise; 0.04 in the paper.

    Returns:
        The loss, a scalar in float32 (float64 for float64 rows).

    Raises:
        ValueError: If query and key differ in shape or are not `(batch, dim)`, the queue is of
            another width or empty, the batch is empty, or a temperature is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import ressl_loss
        >>> queue, key = torch.eye(2), torch.tensor([[1.0, 0.0]])
        >>> ressl_loss(key, key, queue, temperature=0.2, teacher_temperature=0.2)
        tensor(0.)
        >>> ressl_loss(key + key.flip(1), key, queue, teacher_temperature=0.01)  # sure of one of 2
        tensor(0.6931)

    References:
        Zheng et al., *ReSSL*, 2021, <https://arxiv.org/abs/2107.09282>, equations 3 to 5.
    """
    who = "ressl_loss"
    for name, rows in (("query", query), ("key", key), ("queue", queue)):
        check_floating(who, name, rows)
    check_same_shape(who, "query and key", query, key)
    check_axes(who, "query", query, "batch dim")
    check_axes(who, "queue", queue, "queue dim")
    check_at_least(who, "batch", query.shape[0], 1)
    check_at_least(who, "rows of the queue", queue.shape[0], 1)
    check_size(who, "queue", queue, 1, query.shape[1])
    check_temperature(who, "temperature", temperature)
    check_temperature(who, "teacher_temperature", teacher_temperature)
    with full_precision(query):
        q = unit_rows(upcast(query))
        k, others = directions(key, q, 1.0), directions(queue, q, 1.0).mT
        student = torch.log_softmax((q / in_precision(temperature, q)) @ others, dim=-1)
        teacher = torch.log_softmax((k / in_precision(teacher_temperature, q)) @ others, dim=-1)
        return (teacher.exp() * (teacher - student)).sum(dim=-1).mean()


class ReSSLLoss(nn.Module):
    """`ressl_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self,
        *,
        temperature: float | Tensor = 0.1,
        teacher_temperature: float | Tensor = 0.04,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.teacher_temperature = teacher_temperature

    def forward(self, query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
        """Return the loss of queries and keys, `(batch, dim)` each, with a queue."""
        return ressl_loss(
            query,
            key,
            queue,
            temperature=self.temperature,
            teacher_temperature=self.teacher_temperature,
        )
