"""Latent prediction: hide patches, and say what the network would have made of them.

    python examples/ssl/latent_prediction.py --method cae --data GunPoint

`data2vec`: the target is the average of a slow teacher's layers, which sees everything. `cae`: the
encoder sees the visible patches only; a regressor reads the hidden latents off them, which should
equal what the encoder makes of the hidden patches, and from which a decoder tells the values.
"""

import torch
from data import Data
from encoders import DIM, PatchEncoder
from loop import main
from recipe import Batch, Recipe
from torch import Tensor, nn

from ssltok.losses import latent_regression_loss, masked_reconstruction_loss, topk_layer_target
from ssltok.masking import random_mask, span_mask
from ssltok.nn import LatentRegressor, Transformer, patchify, token_places
from ssltok.state import EMATeacher


def data2vec(data: Data) -> Recipe:
    encoder, head = PatchEncoder(data), nn.Linear(DIM, DIM)
    teacher = EMATeacher(encoder)

    def loss_of(batch: Batch, step: int) -> Tensor:
        mask = span_mask((len(batch.series), encoder.count), ratio=0.5, length=2)
        with torch.no_grad():
            layers = teacher.model.vit.hidden_states(batch.series).mlp
        pred = head(encoder.vit(batch.series, masked=mask))
        return latent_regression_loss(pred, topk_layer_target(layers, top=2), mask)

    def after_step(step: int) -> None:
        teacher.update(encoder, momentum=0.99)

    return Recipe(encoder, head, loss_of, after_step, steps=200)


def cae(data: Data) -> Recipe:
    encoder = PatchEncoder(data)
    regressor = LatentRegressor(DIM, depth=1, heads=4)
    decoder = nn.Sequential(Transformer(DIM, depth=1, heads=4), nn.Linear(DIM, encoder.values))

    def loss_of(batch: Batch, step: int) -> Tensor:
        mask, visible, _ = random_mask((len(batch.series), encoder.count), ratio=0.5)
        hidden = token_places(mask, slots=encoder.count - visible.shape[1])
        latents = regressor(encoder.vit(batch.series, visible=visible), visible, hidden)
        with torch.no_grad():
            aligned = encoder.vit(batch.series, visible=hidden)
        patches = patchify(batch.series, patch=encoder.patch)[mask].view(*hidden.shape, -1)
        every = torch.ones_like(hidden, dtype=torch.bool)
        rebuilt = masked_reconstruction_loss(
            decoder(latents), patches, every, normalize_target=True
        )
        return rebuilt + 2 * latent_regression_loss(latents, aligned, beta=None)

    return Recipe(encoder, nn.ModuleList([regressor, decoder]), loss_of, steps=600)


METHODS = {f.__name__: f for f in (data2vec, cae)}

if __name__ == "__main__":
    main(METHODS)
