"""Tokens: how much of a codebook is in use, and what the tokens tell of each other."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_codes,
    check_floating,
    check_same_shape,
)
from ssltok.metrics._pairs_fast import mean_cosine

__all__ = [
    "CodebookCorrelation",
    "codebook_correlation",
    "codebook_perplexity",
    "codebook_usage",
    "token_divergence",
    "token_entropy",
    "token_histogram",
    "token_mutual_information",
]


class CodebookCorrelation(NamedTuple):
    """Mean absolute likeness of two different entries; each in [0, 1].

    Attributes:
        pearson: By their correlation.
        cosine: By the cosine of their angle.
    """

    pearson: Tensor
    cosine: Tensor


def token_histogram(codes: Tensor, *, codebook_size: int) -> Tensor:
    """Count how often each code occurs.

    Args:
        codes: Codes of any shape, int64; -1 is padding and is not counted.
        codebook_size: Number of entries of the codebook.

    Returns:
        Counts, `(codebook_size,)` float64.

    Raises:
        ValueError: If `codes` is empty or not int64, or `codebook_size < 1`.
        RuntimeError: If a code is `codebook_size` or more, or below -1.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import token_histogram
        >>> token_histogram(torch.tensor([[2, 0, 2, -1]]), codebook_size=4)
        tensor([1., 0., 2., 0.], dtype=torch.float64)
    """
    return _count("token_histogram", codes, codebook_size)


def codebook_usage(codes: Tensor, *, codebook_size: int) -> Tensor:
    """Measure the share of the codebook that occurs at least once, over a whole set.

    A share over one batch says little: `n` codes cannot use more than `n` entries.

    Args:
        codes: Codes of any shape, int64; -1 is padding.
        codebook_size: Number of entries of the codebook.

    Returns:
        A float64 scalar in [0, 1].

    Raises:
        ValueError: If `codes` is empty or not int64, or `codebook_size < 1`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import codebook_usage
        >>> codebook_usage(torch.tensor([0, 0, 3, -1]), codebook_size=8).item()
        0.25
    """
    return (_count("codebook_usage", codes, codebook_size) > 0).double().mean()


def token_entropy(codes: Tensor, *, codebook_size: int) -> Tensor:
    r"""Measure the entropy of the tokens' histogram, $-\sum_k p_k \log p_k$, in nats.

    It is the plug-in estimate, without a correction for few tokens.

    Args:
        codes: Codes of any shape, int64; -1 is padding.
        codebook_size: Number of entries of the codebook.

    Returns:
        A float64 scalar in `[0, log(codebook_size)]`; NaN if every code is padding.

    Raises:
        ValueError: If `codes` is empty or not int64, or `codebook_size < 1`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import token_entropy
        >>> round(token_entropy(torch.tensor([0, 1, 2, 3]), codebook_size=9).exp().item(), 6)
        4.0
    """
    return _entropy(_count("token_entropy", codes, codebook_size))


def codebook_perplexity(codes: Tensor, *, codebook_size: int) -> Tensor:
    r"""Measure how many codes are in use, counted by weight: the exponential of the entropy.

    `codebook_size` when all codes are equally frequent, 1 when one code has taken over.

    Args:
        codes: Codes of any shape, int64; -1 is padding.
        codebook_size: Number of entries of the codebook.

    Returns:
        A float64 scalar in `[1, codebook_size]`; NaN if every code is padding.

    Raises:
        ValueError: If `codes` is empty or not int64, or `codebook_size < 1`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import codebook_perplexity
        >>> codebook_perplexity(torch.tensor([[7, 7], [7, -1]]), codebook_size=8).item()
        1.0

    References:
        van den Oord et al., *Neural discrete representation learning*, 2017,
        <https://arxiv.org/abs/1711.00937>, reports it in its experiments.
    """
    return _entropy(_count("codebook_perplexity", codes, codebook_size)).exp()


def token_divergence(
    real: Tensor, generated: Tensor, *, codebook_size: int, pseudocount: float = 0.5
) -> Tensor:
    r"""Measure the Kullback-Leibler divergence of two sets' token histograms, in nats.

    $$\sum_k p_k \log \frac{p_k}{q_k}, \qquad
      p_k = \frac{n_k + \alpha}{\sum_j (n_j + \alpha)}$$

    with $p$ from the real and $q$ from the generated tokens. Without the pseudocount a single
    code that the generated set lacks makes it infinite.

    Args:
        real: Codes of real series, any shape, int64; -1 is padding.
        generated: Codes of generated series, any shape, int64; -1 is padding.
        codebook_size: Number of entries of the codebook.
        pseudocount: $\alpha$, added to every count; 0.5 is Jeffreys' prior, 0 adds nothing.

    Returns:
        A float64 scalar >= 0, possibly infinite when `pseudocount` is 0.

    Raises:
        ValueError: If the codes are empty or not int64, or an option is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import token_divergence
        >>> real, generated = torch.tensor([0, 0]), torch.tensor([0, 1])
        >>> kl = token_divergence(real, generated, codebook_size=2, pseudocount=0)
        >>> round(kl.exp().item(), 6)  # p = (1, 0), q = (1/2, 1/2)
        2.0
    """
    who = "token_divergence"
    check_at_least(who, "pseudocount", pseudocount, 0)
    p = _count(who, real, codebook_size, "real") + pseudocount
    q = _count(who, generated, codebook_size, "generated") + pseudocount
    p, q = p / p.sum(), q / q.sum()
    return torch.where(p > 0, p * (p / q).log(), 0.0).sum().clamp_min(0)


def token_mutual_information(
    first: Tensor,
    second: Tensor,
    *,
    first_size: int,
    second_size: int,
    permutations: int = 8,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Measure what one discrete variable tells of another, in nats, against permuted pairs.

    $$\hat I = \frac1R \sum_{r=1}^R H(X, Y_{\pi_r}) - H(X, Y), \qquad
      H = -\sum_k p_k \log p_k + \frac{m - 1}{2 n}$$

    Here $\pi_r$ puts the second values in a random order, $m$ is the number of cells that occur,
    $n$ the number of pairs, and the last term the Miller-Madow correction. A permutation keeps
    $H(X)$ and $H(Y)$, so this is the plug-in estimate less what permuted, that is unrelated, pairs
    score. For independent variables its expectation is 0 whatever the number of pairs, where a
    correction by $m$ and $n$ alone is right only for $n$ well above the cells that occur. It can
    fall slightly below 0.

    What two *dependent* variables share is estimated well from about one pair a cell on, that is
    for $n$ of `first_size * second_size` and more. With far fewer it comes out too small: then
    compare only values of one $n$, as tests of "more than nothing". Pairs are taken as
    independent, so give one position at a time where that matters.

    Between tokens and labels: `token_mutual_information(codes, labels[:, None].expand_as(codes),
    ...)`. Between a token and the next: `token_mutual_information(codes[:, :-1], codes[:, 1:],
    ...)`.

    Args:
        first: Values of the first variable, any shape, int64; -1 leaves the pair out.
        second: Values of the second variable, the same shape, int64; -1 leaves the pair out.
        first_size: Number of values the first variable may take.
        second_size: Number of values the second variable may take.
        permutations: R, permuted copies that are averaged.
        generator: Draws the permutations.

    Returns:
        A float64 scalar; NaN if every pair is left out.

    Raises:
        ValueError: If the shapes differ, the tensors are empty or not int64, a value is as large
            as its variable's size, or an option is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import token_mutual_information
        >>> x = torch.arange(4096) % 2
        >>> generator = torch.Generator().manual_seed(0)
        >>> mi = token_mutual_information(x, x, first_size=2, second_size=2, generator=generator)
        >>> round(mi.item(), 2)  # all of H(X) = log 2
        0.69

    References:
        Miller, *Note on the bias of information estimates*, 1955. Panzeri et al., *Correcting for
        the sampling bias problem in spike train information measures*, 2007, on shuffling. Vinh
        et al., *Information theoretic measures for clusterings comparison*, 2010, section 3, on
        the expectation under permutations.
    """
    who = "token_mutual_information"
    check_codes(who, "first", first)
    check_codes(who, "second", second)
    check_same_shape(who, "first and second", first, second)
    check_at_least(who, "first_size", first_size, 1)
    check_at_least(who, "second_size", second_size, 1)
    check_at_least(who, "permutations", permutations, 1)
    check_at_least(who, "number of pairs", first.numel(), 1)
    largest = [int(codes.amax()) for codes in (first, second)]
    for name, value, size in zip(
        ("first", "second"), largest, (first_size, second_size), strict=True
    ):
        if value >= size:
            raise ValueError(f"{who}: {name} must be < {name}_size = {size}; got {value}")
    known = (first >= 0) & (second >= 0)
    rows, columns = first[known] * second_size, second[known]
    device = "cpu" if generator is None else generator.device
    shuffled = []
    for _ in range(permutations):
        order = torch.randperm(len(columns), generator=generator, device=device)
        shuffled.append(_joint_entropy(rows + columns[order.to(columns.device)]))
    return torch.stack(shuffled).mean() - _joint_entropy(rows + columns)


def codebook_correlation(codebook: Tensor) -> CodebookCorrelation:
    """Measure how alike two different entries of a codebook are on average.

    Entries that are all alike waste the codebook even when every one of them is used.

    Args:
        codebook: Entries, `(codebook_size, dim)`, at least 2 of each.

    Returns:
        `CodebookCorrelation(pearson, cosine)`: means over pairs of different entries of the
        absolute Pearson correlation and the absolute cosine, float64 scalars in [0, 1].
        An entry that is constant (zero for the cosine) counts as 0.

    Raises:
        ValueError: If `codebook` is not `(codebook_size, dim)` with at least 2 of each.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import codebook_correlation
        >>> codebook_correlation(torch.eye(3)).cosine.item()
        0.0
    """
    who = "codebook_correlation"
    check_floating(who, "codebook", codebook)
    check_axes(who, "codebook", codebook, "codebook_size dim")
    check_at_least(who, "codebook_size", codebook.shape[0], 2)
    check_at_least(who, "dim", codebook.shape[1], 2)
    entries = codebook.detach().double()
    centred = entries - entries.mean(1, keepdim=True)
    pearson, cosine = (mean_cosine(functional.normalize(rows)) for rows in (centred, entries))
    return CodebookCorrelation(pearson=pearson, cosine=cosine)


def _count(who: str, codes: Tensor, size: int, name: str = "codes") -> Tensor:
    check_codes(who, name, codes)
    check_at_least(who, "codebook_size", size, 1)
    what = "number of codes" if name == "codes" else f"number of codes of {name}"
    check_at_least(who, what, codes.numel(), 1)
    counts = torch.zeros(size + 1, dtype=torch.float64, device=codes.device)
    shifted = codes.flatten() + 1
    return counts.scatter_add_(0, shifted, torch.ones_like(shifted, dtype=torch.float64))[1:]


def _entropy(counts: Tensor) -> Tensor:
    p = counts / counts.sum()
    return torch.where(p != 0, -p * p.log(), 0.0).sum()


def _joint_entropy(cells: Tensor) -> Tensor:
    """Miller-Madow entropy of the cells that occur; the whole table may be far too large."""
    counts = torch.unique(cells, return_counts=True)[1].double()
    correction: Tensor = (len(counts) - 1) / (2 * counts.sum())
    return _entropy(counts) + correction
