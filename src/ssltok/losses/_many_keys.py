"""The log-sum-exp of queries over the keys of a queue."""

from torch import Tensor

from ssltok._shared.numerics import directed
from ssltok.losses._products import inverse_norms

__all__ = ["directions", "log_sum_over_keys"]


def log_sum_over_keys(query: Tensor, keys: Tensor, *, temperature: float | Tensor) -> Tensor:
    r"""Return $\log \sum_n e^{q_b \cdot \bar k_n / \tau}$ for each query, `(batch,)`.

    The keys, `(keys, dim)`, get length 1 here and no gradient.
    """
    return (query @ directions(keys, query, temperature).mT).logsumexp(dim=-1)


def directions(keys: Tensor, like: Tensor, temperature: float | Tensor) -> Tensor:
    r"""Return $\bar k / \tau$ in the precision of `like`, without a gradient; 0 for a key of 0."""
    keys = directed(keys.detach().to(like.dtype))
    return keys * (inverse_norms(keys) / temperature)
