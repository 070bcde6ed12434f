"""Redundancy reduction: two views agree, and no two features say the same.

    python examples/ssl/redundancy_reduction.py --method vicreg --data GunPoint

No negatives, no teacher. `barlow_twins`: the cross-correlation of the views becomes the identity.
`vicreg`: each feature varies, on its own. `vibcreg`: the same behind IterNorm, with a normalised
covariance. `w_mse`: views are whitened, then pulled together. `sigreg`: views agree, and their
features become Gaussian (LeJEPA).
"""

from collections.abc import Callable
from functools import partial

from data import Data
from encoders import DIM, ConvEncoder
from loop import main
from recipe import Batch, Recipe
from torch import Tensor, nn
from views import view

from ssltok import losses
from ssltok.nn import IterNorm, Projector

WIDTH = 128


def recipe_of(
    loss: Callable[[Tensor, Tensor], Tensor],
    data: Data,
    *,
    out_dim: int = WIDTH,
    whiten: nn.Module | None = None,
) -> Recipe:
    """Make the recipe that all of them share: one encoder, one projector, two views."""
    encoder = ConvEncoder(data)
    projector = Projector(DIM, hidden_dim=WIDTH, out_dim=out_dim, whiten=whiten)

    def loss_of(batch: Batch, step: int) -> Tensor:
        z_a, z_b = (projector(encoder(view(batch.series))) for _ in range(2))
        return loss(z_a, z_b)

    return Recipe(encoder, projector, loss_of)


def barlow_twins(data: Data) -> Recipe:
    return recipe_of(losses.barlow_twins_loss, data)


def vicreg(data: Data) -> Recipe:
    return recipe_of(losses.vicreg_loss, data)


def vibcreg(data: Data) -> Recipe:
    return recipe_of(losses.vibcreg_loss, data, whiten=IterNorm(WIDTH, group_size=16))


def w_mse(data: Data) -> Recipe:
    # Whitening needs more rows than features: 32 series, 16 features.
    return recipe_of(partial(losses.w_mse_loss, eps=0.01), data, out_dim=16)


def sigreg(data: Data) -> Recipe:
    def loss(z_a: Tensor, z_b: Tensor) -> Tensor:
        gaussian = losses.sigreg_loss(z_a, slices=256) + losses.sigreg_loss(z_b, slices=256)
        return 0.95 * (z_a - z_b).square().mean() + 0.05 * gaussian / 2

    return recipe_of(loss, data, out_dim=16)


METHODS = {f.__name__: f for f in (barlow_twins, vicreg, vibcreg, w_mse, sigreg)}

if __name__ == "__main__":
    main(METHODS)
