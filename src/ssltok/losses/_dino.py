"""DINO: a student's view of a series should be told apart the way a teacher tells another view."""

from torch import Tensor, nn

from ssltok.losses._soft_cross_entropy import check_distributions
from ssltok.losses._soft_cross_entropy_fast import cross_view_entropy

__all__ = ["DINOLoss", "dino_loss"]


def dino_loss(student: Tensor, teacher: Tensor, *, temperature: float | Tensor = 0.1) -> Tensor:
    r"""Average the cross-entropy over all pairs of a teacher's and another student view.

    $$-\frac{1}{T (S - 1) B} \sum_{t=1}^{T} \sum_{s \ne t} \sum_{b} \sum_k
      q_{tbk} \log \mathrm{softmax}(x_{sb} / \tau_s)_k$$

    The teacher's probabilities are an argument, so that centring and sharpening (DINO) or optimal
    transport (DINOv2) are the caller's choice: `center_and_sharpen(logits, center, ...)` or
    `sinkhorn(logits, ...)`. Update the centre after the loss. Teachers are detached.

    DINO's student temperature of 0.1 is fixed; its teacher's rises from 0.04 to at most 0.07.

    Args:
        student: Logits of all views, `(views, batch, codebook_size)`; the global views come first.
        teacher: Probabilities of the first views, in the same order, `(teacher_views, batch,
            codebook_size)`.
        temperature: $\tau_s$, the temperature of the student; a number, or a tensor of shape `()`,
            which may be learned.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If the shapes do not fit, there are fewer than two student views, more teacher
            than student views, or the temperature is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import dino_loss
        >>> teacher = torch.tensor([1.0, 0.0]).expand(2, 3, 2)
        >>> dino_loss(torch.zeros(2, 3, 2), teacher)  # ln 2
        tensor(0.6931)

    References:
        Caron et al., *DINO*, 2021, <https://arxiv.org/abs/2104.14294>, equation 3, algorithm 1.
    """
    check_distributions("dino_loss", ("student", "teacher"), student, teacher, temperature)
    return cross_view_entropy(student, teacher, temperature=temperature)


class DINOLoss(nn.Module):
    """`dino_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, temperature: float | Tensor = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of student logits and teacher probabilities."""
        return dino_loss(student, teacher, temperature=self.temperature)
