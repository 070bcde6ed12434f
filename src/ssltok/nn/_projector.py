"""The projector between an encoder and a loss, and the predictor behind it: MLPs with BatchNorm."""

from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_size
from ssltok.nn._state_names import store_as

__all__ = ["Predictor", "Projector"]


class Projector(nn.Module):
    """Map pooled features to the space in which two views are compared.

    `layers - 1` times (linear, BatchNorm, ReLU), then one linear layer, then `whiten` if given.
    With `layers=3` this is the projector of Barlow Twins and VICReg; with `IterNorm` behind it,
    that of VIbCReg. Linear layers before a BatchNorm have no bias, as in Barlow Twins; the last
    one has one unless `whiten` removes the mean again. SimSiam's projector is `layers=3` with
    `whiten=nn.BatchNorm1d(out_dim, affine=False)`. `projector.mlp` is a plain sequence:
    `projector.mlp[:3]` is its first hidden layer, which SimCLR v2 keeps for fine-tuning.

    Args:
        in_dim: Features of the input.
        hidden_dim: Width of the hidden layers. The papers use 4096 or 8192; for tokenizers of
            64 channels that is 60 times the encoder, and 512 to 1024 is enough to start from.
        out_dim: Features of the projection.
        layers: Linear layers, 1 or more. The papers use 3.
        whiten: A module for `(batch, out_dim)` that removes the mean, such as `IterNorm`.

    Raises:
        ValueError: If a size is smaller than 1, or the input is not `(batch, in_dim)`, or it is
            a single row in training (BatchNorm has no variance then).
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import Projector
        >>> projector = Projector(128, hidden_dim=512, out_dim=256)
        >>> projector(torch.randn(8, 128)).shape
        torch.Size([8, 256])

    References:
        Zbontar et al., *Barlow Twins*, 2021, <https://arxiv.org/abs/2103.03230>, section 2.2.
        Lee and Aune, *VIbCReg*, 2021, <https://arxiv.org/abs/2109.00783>.
    """

    def __init__(
        self,
        in_dim: int,
        *,
        hidden_dim: int,
        out_dim: int,
        layers: int = 3,
        whiten: nn.Module | None = None,
    ) -> None:
        super().__init__()
        sizes = {"in_dim": in_dim, "hidden_dim": hidden_dim, "out_dim": out_dim, "layers": layers}
        for name, size in sizes.items():
            check_at_least(type(self).__name__, name, size, 1)
        self.in_dim, self.hidden_dim, self.out_dim = in_dim, hidden_dim, out_dim
        self.layers = layers
        hidden: list[nn.Module] = []
        for fan_in in [in_dim, *[hidden_dim] * (layers - 1)][: layers - 1]:
            hidden += [
                nn.Linear(fan_in, hidden_dim, bias=False),
                nn.BatchNorm1d(hidden_dim),
                nn.ReLU(inplace=True),
            ]
        last = nn.Linear(in_dim if layers == 1 else hidden_dim, out_dim, bias=whiten is None)
        self.mlp = nn.Sequential(*hidden, last)
        store_as(self, mlp="layers")
        self.whiten = whiten

    def forward(self, features: Tensor) -> Tensor:
        """Project `(batch, in_dim)` to `(batch, out_dim)`."""
        who = type(self).__name__
        check_axes(who, "features", features, "batch dim")
        check_floating(who, "features", features)
        check_size(who, "features", features, 1, self.in_dim)
        check_at_least(who, "batch", features.shape[0], 2 if self.training else 1)
        projected: Tensor = self.mlp(features)
        return projected if self.whiten is None else self.whiten(projected)


class Predictor(Projector):
    """Guess the projection of the other view from the projection of this one.

    A `Projector` that returns the width it was given: `layers - 1` times (linear, BatchNorm,
    ReLU), then a linear layer. In BYOL, SimSiam and MoCo v3 one branch goes through it and the
    other is the target, without a gradient; without this module or without the stop, the
    representation collapses.

    Args:
        dim: Features of the projection, in and out. BYOL uses 256, SimSiam 2048.
        hidden_dim: Width of the hidden layers. BYOL uses 4096; SimSiam 512, a bottleneck.
        layers: Linear layers, 1 or more. Both papers use 2.
        whiten: A module for `(batch, dim)` that removes the mean. MoCo v3 ends with
            `nn.BatchNorm1d(dim, affine=False)`; BYOL and SimSiam with nothing.

    Raises:
        ValueError: As `Projector`.

    Example:
        >>> import torch
        >>> from ssltok.nn import Predictor
        >>> predictor = Predictor(256, hidden_dim=64)
        >>> predictor(torch.randn(8, 256)).shape
        torch.Size([8, 256])

    References:
        Grill et al., *BYOL*, 2020, <https://arxiv.org/abs/2006.07733>, section 3.3.
        Chen and He, *SimSiam*, 2020, <https://arxiv.org/abs/2011.10566>, section 3.
        Chen et al., *MoCo v3*, 2021, <https://arxiv.org/abs/2104.02057>.
    """

    def __init__(
        self, dim: int, *, hidden_dim: int, layers: int = 2, whiten: nn.Module | None = None
    ) -> None:
        super().__init__(dim, hidden_dim=hidden_dim, out_dim=dim, layers=layers, whiten=whiten)
        self.dim = dim
