"""CAPI: a student that does not see a place predicts the cluster that the teacher puts it in."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_same_shape,
)
from ssltok.losses._regression_error import mean_over_tokens
from ssltok.losses._soft_cross_entropy_fast import soft_cross_entropy
from ssltok.losses._temperature import check_temperature

__all__ = ["CAPILoss", "capi_loss"]


def capi_loss(
    student: Tensor, assignments: Tensor, mask: Tensor, *, temperature: float | Tensor = 0.12
) -> Tensor:
    r"""Average the cross-entropy of the teacher's clusters over all masked places.

    $$-\frac{1}{\sum_b \lvert M_b \rvert} \sum_b \sum_{i \in M_b} \sum_k
      q_{bik} \log \mathrm{softmax}(x_{bi} / \tau)_k$$

    The assignments are an argument: `sinkhorn` of the teacher's cluster logits **position by
    position**, so that each place uses all clusters over the batch, and no cluster stands for a
    place; they are detached. Each masked place has the same weight: that is what sets it apart
    from `ibot_patch_loss`, where each series has. The clusters are learned by the same loss, of
    the teacher's own logits at all places:

    ```python
    logits = clusters(teacher(series))                            # (batch, tokens, codebook_size)
    q = sinkhorn(logits.transpose(0, 1), epsilon=0.06).transpose(0, 1)
    loss = capi_loss(student_logits, q, mask) + capi_loss(logits, q, real)
    ```

    Args:
        student: Logits of all places, `(batch, tokens, codebook_size)`.
        assignments: The teacher's cluster probabilities, of the same shape.
        mask: Which places count, `(batch, tokens)`, boolean; what stands elsewhere is not read.
        temperature: $\tau$; 0.12 in the paper; a number, or a tensor of shape `()`, which may be
            learned.

    Returns:
        The loss, a scalar; 0 if nothing is masked.

    Raises:
        ValueError: If shapes or dtypes do not fit, or the temperature is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import capi_loss
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> q = torch.tensor([1.0, 0.0]).expand(2, 2, 2)
        >>> capi_loss(torch.zeros(2, 2, 2), q, mask)  # ln 2 at each of three places
        tensor(0.6931)

    References:
        Darcet et al., *Cluster and Predict Latent Patches for Improved Masked Image Modeling*,
        2025, <https://arxiv.org/abs/2502.08769>; the form is that of the authors' code.
    """
    who = "capi_loss"
    check_floating(who, "student", student)
    check_floating(who, "assignments", assignments)
    check_axes(who, "student", student, "batch tokens codebook_size")
    check_same_shape(who, "student and assignments", student, assignments)
    check_bool_mask(who, "mask", mask, student.shape[:2])
    check_at_least(who, "student.numel()", student.numel(), 1)
    check_temperature(who, "temperature", temperature)
    student, assignments = (
        torch.where(mask.unsqueeze(-1), x, 0) for x in (student, assignments)
    )  # what does not count must not leak, not even as NaN times 0
    rows = soft_cross_entropy(student, assignments, temperature=temperature)
    return mean_over_tokens(rows, mask)


class CAPILoss(nn.Module):
    """`capi_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, temperature: float | Tensor = 0.12) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Tensor, assignments: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of student logits and the teacher's assignments at masked places."""
        return capi_loss(student, assignments, mask, temperature=self.temperature)
