"""Multi-similarity loss: each pair counts by how it compares with the anchor's others."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_number, check_positive
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._label_pairs import Miner, check_labelled, label_pairs, mined
from ssltok.losses._products_fast import unit_rows

__all__ = ["MultiSimilarityLoss", "multi_similarity_loss"]


def multi_similarity_loss(
    z: Tensor,
    labels: Tensor,
    *,
    positive_scale: float = 2.0,
    negative_scale: float = 50.0,
    threshold: float = 0.5,
    miner: Miner = label_pairs,
) -> Tensor:
    r"""Raise similarities of one label above a threshold, and lower those of two below it.

    $$\frac{1}{B} \sum_i \Bigl[
      \tfrac{1}{\alpha} \log\Bigl(1 + \sum_{p \in P(i)} e^{-\alpha (s_{ip} - \lambda)}\Bigr) +
      \tfrac{1}{\beta} \log\Bigl(1 + \sum_{n \in N(i)} e^{\beta (s_{in} - \lambda)}\Bigr) \Bigr]$$

    with the cosine $s$. Which pairs count is the miner's business: all by default, and
    `multi_similarity_pairs` in the paper. An anchor without pairs adds 0 and stays in the mean.

    Constants: 2, 50 and 0.5 are the defaults of pytorch-metric-learning, the authors' scales.

    Over several processes, give it `gather(z)` and `gather(labels)`.

    Args:
        z: Embeddings, `(batch, dim)`, two rows or more.
        labels: Classes, int64 `(batch,)`; -1 for no label, see `label_pairs`.
        positive_scale: $\alpha > 0$.
        negative_scale: $\beta > 0$.
        threshold: $\lambda$.
        miner: From rows and labels to the pairs that count.

    Returns:
        The loss, a scalar in float32 (float64 for float64 rows).

    Raises:
        ValueError: If shapes or dtypes do not fit, `batch < 2`, or a scale is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import multi_similarity_loss
        >>> z, labels = torch.ones(2, 3), torch.tensor([0, 1])  # one negative of cosine 1
        >>> round(multi_similarity_loss(z, labels, negative_scale=1.0).item(), 4)  # log(1 + e^0.5)
        0.9741

    References:
        Wang et al., *Multi-Similarity Loss*, 2019, <https://arxiv.org/abs/1904.06627>, equation 15.
    """
    who = "multi_similarity_loss"
    check_labelled(who, z, labels)
    check_positive(who, "positive_scale", positive_scale)
    check_positive(who, "negative_scale", negative_scale)
    check_number(who, "threshold", threshold)
    with full_precision(z):
        pairs = mined(who, miner, z.detach(), labels)
        rows = unit_rows(upcast(z))
        above = rows @ rows.mT - threshold
        positive = _soft_most(-positive_scale * above, pairs.positive) / positive_scale
        negative = _soft_most(negative_scale * above, pairs.negative) / negative_scale
        return (positive + negative).mean()


def _soft_most(x: Tensor, counted: Tensor) -> Tensor:
    """Return the logarithm of 1 and the counted exponentials of each row."""
    whole = torch.cat([x.masked_fill(~counted, -torch.inf), torch.zeros_like(x[:, :1])], dim=1)
    return whole.logsumexp(dim=1)


class MultiSimilarityLoss(nn.Module):
    """`multi_similarity_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self,
        *,
        positive_scale: float = 2.0,
        negative_scale: float = 50.0,
        threshold: float = 0.5,
        miner: Miner = label_pairs,
    ) -> None:
        super().__init__()
        self.positive_scale, self.negative_scale = positive_scale, negative_scale
        self.threshold, self.miner = threshold, miner

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of embeddings `(batch, dim)` with labels `(batch,)`."""
        return multi_similarity_loss(
            z,
            labels,
            positive_scale=self.positive_scale,
            negative_scale=self.negative_scale,
            threshold=self.threshold,
            miner=self.miner,
        )
