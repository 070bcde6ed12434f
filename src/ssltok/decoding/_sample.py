"""What token to draw: temperature, top-k and top-p, without a distribution object."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok.decoding._iterative import Sample

__all__ = ["temperature_sample"]


def temperature_sample(
    *,
    temperature: float | Callable[[float], float] = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> Sample:
    r"""Make a rule that draws from $\mathrm{softmax}(\text{logits} / \tau)$, perhaps truncated.

    The draw inverts the cumulative distribution with one uniform number per row, in fp32 or
    better. At temperature 0 the most probable code is taken. Top-k keeps exactly the `top_k` most
    probable codes, also under ties; top-p keeps the fewest that reach a mass of `top_p`, among
    those of top-k, the crossing one included.

    Args:
        temperature: $\tau \ge 0$, or a function of progress in (0, 1] that returns it.
        top_k: How many codes to keep, at least 1; all by default.
        top_p: Mass to keep, in (0, 1].

    Returns:
        A rule from logits `(rows, codebook_size)`, progress and generator to tokens `(rows,)`.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> import torch
        >>> from ssltok.decoding import temperature_sample
        >>> logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 9.0, 0.0]])
        >>> temperature_sample(temperature=0.0)(logits, 1.0, None)
        tensor([0, 1])
        >>> temperature_sample(top_k=1)(logits, 1.0, None)
        tensor([0, 1])

    References:
        Holtzman et al., *The curious case of neural text degeneration*, 2019,
        <https://arxiv.org/abs/1904.09751>, equation 2.
    """
    if not callable(temperature):
        check_at_least("temperature_sample", "temperature", temperature, 0)
    if top_k is not None:
        check_at_least("temperature_sample", "top_k", top_k, 1)
    if not 0 < top_p <= 1:
        raise ValueError(f"temperature_sample: top_p must lie in (0, 1]; got {top_p}")

    def sample(logits: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        tau = temperature(progress) if callable(temperature) else temperature
        check_at_least("temperature_sample", "temperature", tau, 0)
        if tau == 0:
            return logits.argmax(dim=-1)
        scaled = logits if logits.dtype == torch.float64 else logits.float()
        codes = None
        if top_k is not None or top_p < 1:
            kept = min(top_k or logits.shape[-1], logits.shape[-1])
            scaled, codes = scaled.topk(kept, dim=-1)
        probs = (scaled / tau).softmax(dim=-1)
        mass = probs.cumsum(dim=-1)
        whole = mass[:, -1:]
        if top_p < 1:
            last = (mass < top_p * whole).sum(dim=-1, keepdim=True).clamp(max=mass.shape[-1] - 1)
            whole = mass.gather(-1, last)
        uniform = torch.rand(
            whole.shape, dtype=whole.dtype, device=whole.device, generator=generator
        )
        below = torch.minimum(uniform * whole, torch.nextafter(whole, torch.zeros_like(whole)))
        drawn = torch.searchsorted(mass, below, right=True)
        return (drawn if codes is None else codes.gather(-1, drawn))[:, 0]

    return sample
