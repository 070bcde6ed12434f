"""Swapped prediction: each view predicts the cluster that another view was assigned to (SwAV)."""

from torch import Tensor, nn

from ssltok.losses._soft_cross_entropy import check_distributions
from ssltok.losses._soft_cross_entropy_fast import cross_view_entropy

__all__ = ["SwappedPredictionLoss", "swapped_prediction_loss"]


def swapped_prediction_loss(
    scores: Tensor, assignments: Tensor, *, temperature: float | Tensor = 0.1
) -> Tensor:
    r"""Average the cross-entropy of each assigned view's clusters over all other views.

    $$-\frac{1}{T (V - 1) B} \sum_{t=1}^{T} \sum_{v \ne t} \sum_b \sum_k
      q_{tbk} \log \mathrm{softmax}(s_{vb} / \tau)_k$$

    The assignments are an argument: `sinkhorn` of each view's scores by itself, as published, not
    of all views at once. They are detached. The number is that of `dino_loss`; the methods differ
    in how the targets are made.

    Args:
        scores: Cosines of features and prototypes of all views, `(views, batch, codebook_size)`.
        assignments: Cluster probabilities of the first views (SwAV: the two large crops), in the
            same order, `(assigned_views, batch, codebook_size)`.
        temperature: $\tau$; a number, or a tensor of shape `()`, which may be learned.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If the shapes do not fit, there are fewer than two views, more assignments
            than views, or the temperature is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import swapped_prediction_loss
        >>> assignments = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(2, 2, 2)
        >>> swapped_prediction_loss(torch.ones(3, 2, 2), assignments)  # ln 2
        tensor(0.6931)

    References:
        Caron et al., *SwAV*, 2020, <https://arxiv.org/abs/2006.09882>, equations 1, 2 and 6.
    """
    names = ("scores", "assignments")
    check_distributions("swapped_prediction_loss", names, scores, assignments, temperature)
    return cross_view_entropy(scores, assignments, temperature=temperature)


class SwappedPredictionLoss(nn.Module):
    """`swapped_prediction_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, temperature: float | Tensor = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, scores: Tensor, assignments: Tensor) -> Tensor:
        """Return the loss of scores and assignments, `(views, batch, codebook_size)` each."""
        return swapped_prediction_loss(scores, assignments, temperature=self.temperature)
