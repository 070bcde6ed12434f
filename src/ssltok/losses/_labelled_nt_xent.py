"""NT-Xent of labels: each positive pair by itself against the anchor's negatives."""

import torch
from torch import Tensor, nn

from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._label_pairs import Miner, check_labelled, label_pairs, mined
from ssltok.losses._products_fast import unit_rows
from ssltok.losses._temperature import check_temperature, in_precision

__all__ = ["LabelledNTXentLoss", "labelled_nt_xent_loss"]


def labelled_nt_xent_loss(
    z: Tensor,
    labels: Tensor,
    *,
    temperature: float | Tensor = 0.07,
    miner: Miner = label_pairs,
) -> Tensor:
    r"""Tell the positive of each pair apart from all negatives of its anchor.

    $$-\frac{1}{|P|} \sum_{(i, p) \in P} \log
      \frac{e^{s_{ip} / \tau}}{e^{s_{ip} / \tau} + \sum_{n \in N(i)} e^{s_{in} / \tau}}$$

    with the cosine $s$: the mean over pairs, as in pytorch-metric-learning. `supcon_loss` has the
    other positives in the denominator too, and is a mean over anchors. With the sample's index for
    a label and two views it is `nt_xent_loss`.

    Over several processes, give it `gather(z)` and `gather(labels)`.

    Args:
        z: Embeddings, `(batch, dim)`, two rows or more.
        labels: Classes, int64 `(batch,)`; -1 for no label, see `label_pairs`.
        temperature: $\tau > 0$; 0.07 in pytorch-metric-learning. A number, or a tensor of shape
            `()`, which may be learned.
        miner: From rows and labels to the pairs that count, such as `multi_similarity_pairs`.

    Returns:
        The loss, a scalar in float32 (float64 for float64 rows); 0 where no pair is positive.

    Raises:
        ValueError: If shapes or dtypes do not fit, `batch < 2`, or the temperature is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import labelled_nt_xent_loss
        >>> z = torch.ones(4, 3)  # all alike: one positive against two negatives, log 3
        >>> round(labelled_nt_xent_loss(z, torch.tensor([0, 0, 1, 1])).item(), 4)
        1.0986

    References:
        Chen et al., *SimCLR*, 2020, <https://arxiv.org/abs/2002.05709>, equation 1.
    """
    who = "labelled_nt_xent_loss"
    check_labelled(who, z, labels)
    check_temperature(who, "temperature", temperature)
    with full_precision(z):
        pairs = mined(who, miner, z.detach(), labels)
        rows = unit_rows(upcast(z))
        similarity = (rows / in_precision(temperature, rows)) @ rows.mT
        # Not minus infinity: an anchor without a negative would have no gradient, but NaN.
        lowest = torch.finfo(rows.dtype).min / 2
        negatives = similarity.masked_fill(~pairs.negative, lowest).logsumexp(dim=1, keepdim=True)
        each = -nn.functional.logsigmoid(similarity - negatives)
        return torch.where(pairs.positive, each, 0).sum() / pairs.positive.sum().clamp(min=1)


class LabelledNTXentLoss(nn.Module):
    """`labelled_nt_xent_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, temperature: float | Tensor = 0.07, miner: Miner = label_pairs) -> None:
        super().__init__()
        self.temperature, self.miner = temperature, miner

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of embeddings `(batch, dim)` with labels `(batch,)`."""
        return labelled_nt_xent_loss(z, labels, temperature=self.temperature, miner=self.miner)
