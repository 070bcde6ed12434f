"""CPC and TS-TCC: predict the future of a series, and recognise it among other series."""

from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_same_shape
from ssltok._shared.numerics import full_precision, upcast_pair

__all__ = ["TemporalContrastiveLoss", "temporal_contrastive_loss"]


def temporal_contrastive_loss(pred: Tensor, future: Tensor) -> Tensor:
    r"""Recognise each series' future latent among those of the batch, for several steps ahead.

    $$-\frac{1}{B K} \sum_{k=1}^{K} \sum_b
      \log \frac{e^{\hat z_{bk} \cdot z_{bk}}}{\sum_{b'} e^{\hat z_{bk} \cdot z_{b'k}}}$$

    where $\hat z_{bk} = W_k c_b$ predicts the latent $z_{bk}$, $k$ steps after the context $c_b$.
    Plain dot products, no temperature. **Gradients flow into both**, as published: the encoder of
    the future is trained too. TS-TCC predicts one view's future from the other view's context,
    in both directions.

    The paper's softmax runs over futures for each prediction. The code of TS-TCC runs it over
    predictions for each future; swap the arguments to match it.

    Over several processes, give it `gather(pred)` and `gather(future)`.

    Args:
        pred: Predictions from each series' context, `(batch, steps, dim)`, at least two series.
        future: The latents that came, `(batch, steps, dim)`.

    Returns:
        The loss, a scalar in float32 (float64 for float64 latents); $\log B$ at chance.

    Raises:
        ValueError: If the shapes differ or are not `(batch, steps, dim)`, `batch < 2`, or there
            is no step.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import temporal_contrastive_loss
        >>> z = torch.ones(4, 2, 3)  # nothing tells the four series apart: log 4
        >>> round(temporal_contrastive_loss(z, z).item(), 4)
        1.3863

    References:
        van den Oord et al., *CPC*, 2018, <https://arxiv.org/abs/1807.03748>, equations 3 and 4.
        Eldele et al., *TS-TCC*, 2021, <https://arxiv.org/abs/2106.14112>, equations 1 and 2.
    """
    who = "temporal_contrastive_loss"
    check_floating(who, "pred", pred)
    check_floating(who, "future", future)
    check_same_shape(who, "pred and future", pred, future)
    check_axes(who, "pred", pred, "batch steps dim")
    check_at_least(who, "batch", pred.shape[0], 2)
    check_at_least(who, "steps", pred.shape[1], 1)
    with full_precision(pred):
        p, f = (z.transpose(0, 1) for z in upcast_pair(pred, future))
        every = (p @ f.mT).logsumexp(dim=-1)
        return every.mean() - (p * f).sum(dim=-1).mean()


class TemporalContrastiveLoss(nn.Module):
    """`temporal_contrastive_loss` as a module."""

    def forward(self, pred: Tensor, future: Tensor) -> Tensor:
        """Return the loss of predictions and futures, `(batch, steps, dim)` each."""
        return temporal_contrastive_loss(pred, future)
