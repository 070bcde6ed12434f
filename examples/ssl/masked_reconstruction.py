"""Masked reconstruction: hide patches of a series, and say what they were.

    python examples/ssl/masked_reconstruction.py --method simmim --data GunPoint

`mae`: the encoder sees the visible patches only, a small decoder fills in the rest. `simmim`: the
encoder sees mask tokens, and one linear layer reads the values off. `maskfeat`: the target is the
histogram of slopes of each patch. `mae` and `simmim` scale each target patch by itself, as MAE's
recipe does: without that, size and level are all there is to learn.
"""

from data import Data
from encoders import DIM, PatchEncoder
from loop import main
from recipe import Batch, Recipe
from torch import Tensor, nn

from ssltok.losses import masked_reconstruction_loss
from ssltok.masking import random_mask, unit_mask
from ssltok.nn import MAEDecoder, Transformer, patchify
from ssltok.signal import slope_histogram


def mae(data: Data, *, ratio: float = 0.6, scaled: bool = True) -> Recipe:
    encoder = PatchEncoder(data)
    decoder = MAEDecoder(DIM, encoder.values, Transformer(32, depth=1, heads=2))

    def loss_of(batch: Batch, step: int) -> Tensor:
        mask, visible, restore = random_mask((len(batch.series), encoder.count), ratio=ratio)
        pred = decoder(encoder.vit(batch.series, visible=visible), restore)
        target = patchify(batch.series, patch=encoder.patch)
        return masked_reconstruction_loss(pred, target, mask, normalize_target=scaled)

    return Recipe(encoder, decoder, loss_of, steps=600)


def simmim(data: Data) -> Recipe:
    encoder = PatchEncoder(data)
    head = nn.Linear(DIM, encoder.values)

    def loss_of(batch: Batch, step: int) -> Tensor:
        shape = (len(batch.series), encoder.count)
        mask = unit_mask(shape, ratio=0.6, unit=(1, 2))
        pred = head(encoder.vit(batch.series, masked=mask))
        target = patchify(batch.series, patch=encoder.patch)
        return masked_reconstruction_loss(pred, target, mask, beta=0, normalize_target=True)

    return Recipe(encoder, head, loss_of, steps=200)


def maskfeat(data: Data) -> Recipe:
    encoder = PatchEncoder(data)
    head = nn.Linear(DIM, 9 * data.channels)
    unit = float(data.train.diff(dim=-1).std())  # slopes of this size are drawn at 45 degrees

    def loss_of(batch: Batch, step: int) -> Tensor:
        mask = unit_mask((len(batch.series), encoder.count), ratio=0.4, unit=(1, 2))
        pred = head(encoder.vit(batch.series, masked=mask))
        target = slope_histogram(batch.series, patch=encoder.patch, unit_slope=unit)
        return masked_reconstruction_loss(pred, target, mask)

    return Recipe(encoder, head, loss_of, steps=1000)


METHODS = {f.__name__: f for f in (mae, simmim, maskfeat)}

if __name__ == "__main__":
    main(METHODS)
