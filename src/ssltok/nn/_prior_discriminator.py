"""The critic of an adversarial autoencoder: it tells codes from draws of the prior."""

from itertools import pairwise

from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_size
from ssltok.nn._state_names import store_as

__all__ = ["PriorDiscriminator"]


class PriorDiscriminator(nn.Module):
    """Say whether a vector was drawn from the prior or made by an encoder.

    An MLP with ReLU, down to one score before the sigmoid: `discriminator_loss` of draws and
    codes trains it, `generator_loss` of codes trains the encoder. There is no normalisation over
    the batch, so a score depends on its own row alone. To let classes share a prior, append a
    one-hot label to codes and draws alike.

    Args:
        in_dim: Features of a code.
        hidden_dim: Width of the hidden layers. The paper uses 1000.
        layers: Linear layers, 1 or more. The paper uses 3.

    Raises:
        ValueError: If a size is smaller than 1, or the input is not `(batch, in_dim)`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import PriorDiscriminator
        >>> critic = PriorDiscriminator(4, hidden_dim=16)
        >>> critic(torch.randn(7, 4)).shape
        torch.Size([7])

    References:
        Makhzani et al., *Adversarial autoencoders*, 2015, <https://arxiv.org/abs/1511.05644>,
        section 2 and appendix A.
    """

    def __init__(self, in_dim: int, *, hidden_dim: int = 1000, layers: int = 3) -> None:
        super().__init__()
        for name, size in (("in_dim", in_dim), ("hidden_dim", hidden_dim), ("layers", layers)):
            check_at_least("PriorDiscriminator", name, size, 1)
        self.in_dim, self.hidden_dim, self.layers = in_dim, hidden_dim, layers
        widths = [in_dim, *[hidden_dim] * (layers - 1), 1]
        parts: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            parts += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        self.mlp = nn.Sequential(*parts[:-1])
        store_as(self, mlp="layers")

    def forward(self, codes: Tensor) -> Tensor:
        """Score vectors `(batch, in_dim)`: `(batch,)`, high for what seems drawn."""
        check_axes("PriorDiscriminator", "codes", codes, "batch dim")
        check_floating("PriorDiscriminator", "codes", codes)
        check_at_least("PriorDiscriminator", "batch", codes.shape[0], 1)
        check_size("PriorDiscriminator", "codes", codes, 1, self.in_dim)
        scores: Tensor = self.mlp(codes).squeeze(1)
        return scores
