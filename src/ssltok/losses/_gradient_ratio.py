"""The weight at which one loss pulls a layer as hard as another."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_floating, check_positive

__all__ = ["gradient_ratio"]


def gradient_ratio(
    reference: Tensor,
    loss: Tensor,
    layer: Tensor,
    *,
    eps: float = 1e-4,
    limit: float = 1e8,
    average: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    r"""Return the weight that gives a loss the gradient norm of a reference, at one layer.

    $$\min\Bigl(\frac{\lVert \nabla_w L_{\text{ref}} \rVert}
      {\lVert \nabla_w L \rVert + \epsilon},\ \text{limit}\Bigr)$$

    VA-VAE weighs its `vf_loss` so, with the reconstruction as reference and the encoder's last
    weight as layer; VQGAN its adversarial loss, with the decoder's last weight and a limit of 1e4.
    Both graphs are kept, so that the sum of both losses can be differentiated after.

    Args:
        reference: The loss that sets the measure, a scalar with a graph.
        loss: The loss that is weighed, a scalar with a graph.
        layer: The parameter at which both are compared; both losses must depend on it.
        eps: $\epsilon > 0$; 1e-4 in both.
        limit: The largest weight; 1e8 in VA-VAE.
        average: Applied to both gradients before their norms. Over several processes
            `lambda gradient: reduce_mean(gradient[None])`, with the function of
            `ssltok.distributed`, gives all the weight of the whole batch.

    Returns:
        The weight, a scalar without a graph.

    Raises:
        ValueError: If a loss is no scalar, `eps` is not positive, or `limit` is negative.
        RuntimeError: From torch, if a loss does not depend on the layer.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import gradient_ratio
        >>> layer = torch.ones(2, requires_grad=True)
        >>> ratio = gradient_ratio(6 * layer.sum(), 2 * layer.sum(), layer)
        >>> round(ratio.item(), 2)
        3.0

    References:
        Esser et al., *Taming Transformers*, 2020, <https://arxiv.org/abs/2012.09841>, equation 7.
        Yao et al., *VA-VAE*, 2025, <https://arxiv.org/abs/2501.01423>, section 3.2.
    """
    check_positive("gradient_ratio", "eps", eps)
    check_at_least("gradient_ratio", "limit", limit, 0)
    check_floating("gradient_ratio", "layer", layer)
    norms = []
    for name, value in (("reference", reference), ("loss", loss)):
        check_floating("gradient_ratio", name, value)
        if value.ndim:
            raise ValueError(
                f"gradient_ratio: {name} must be a scalar; got shape {tuple(value.shape)}"
            )
        (gradient,) = torch.autograd.grad(value, layer, retain_graph=True)
        norms.append(torch.linalg.vector_norm(average(gradient) if average else gradient))
    ratio: Tensor = norms[0] / (norms[1] + eps)
    return ratio.clamp(max=limit).detach()
