"""Contrast: views of one series are alike, all else is different.

    python examples/ssl/contrastive.py --method moco --data GunPoint

`simclr`: NT-Xent within the batch. `moco`: InfoNCE against a queue of a slow teacher's keys.
`moco_v3`: within the batch, with a predictor and a teacher. `supcon`: labels say what is alike.
`triplet`: another view is nearer than another series.
"""

import torch
from data import Data
from encoders import DIM, ConvEncoder
from loop import main
from recipe import Batch, Recipe
from torch import Tensor, nn
from views import view

from ssltok import losses
from ssltok.nn import Predictor, Projector
from ssltok.state import EMATeacher, FeatureQueue


def projected(data: Data) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Build an encoder, a projector, and the two in a row."""
    encoder, projector = ConvEncoder(data), Projector(DIM, hidden_dim=128, out_dim=64, layers=2)
    return encoder, projector, nn.Sequential(encoder, projector)


def simclr(data: Data) -> Recipe:
    encoder, projector, model = projected(data)

    def loss_of(batch: Batch, step: int) -> Tensor:
        z_a, z_b = model(view(batch.series)), model(view(batch.series))
        return losses.nt_xent_loss(z_a, z_b, temperature=0.2)

    return Recipe(encoder, projector, loss_of)


def moco(data: Data) -> Recipe:
    encoder, projector, model = projected(data)
    teacher, queue = EMATeacher(model, training=True), FeatureQueue(256, 64)
    keys: list[Tensor] = []

    def loss_of(batch: Batch, step: int) -> Tensor:
        keys[:] = [teacher(view(batch.series))]
        query = model(view(batch.series))
        return losses.info_nce_loss(query, keys[0], queue(), temperature=0.2)

    def after_step(step: int) -> None:
        teacher.update(model, momentum=0.95)
        queue.update(keys[0])

    return Recipe(encoder, projector, loss_of, after_step)


def moco_v3(data: Data) -> Recipe:
    encoder, projector, model = projected(data)
    teacher, predictor = EMATeacher(model, training=True), Predictor(64, hidden_dim=128)

    def loss_of(batch: Batch, step: int) -> Tensor:
        a, b = view(batch.series), view(batch.series)
        one = losses.info_nce_loss(predictor(model(a)), teacher(b), temperature=0.2)
        two = losses.info_nce_loss(predictor(model(b)), teacher(a), temperature=0.2)
        return 2 * 0.2 * (one + two)  # the published factor, twice the temperature

    def after_step(step: int) -> None:
        teacher.update(model, momentum=0.95)

    return Recipe(encoder, nn.ModuleList([projector, predictor]), loss_of, after_step)


def supcon(data: Data) -> Recipe:
    encoder, projector, model = projected(data)

    def loss_of(batch: Batch, step: int) -> Tensor:
        z = torch.cat([model(view(batch.series)), model(view(batch.series))])
        return losses.supcon_loss(z, batch.labels.repeat(2), temperature=0.2)

    return Recipe(encoder, projector, loss_of)


def triplet(data: Data) -> Recipe:
    encoder, projector, model = projected(data)

    def loss_of(batch: Batch, step: int) -> Tensor:
        anchor, positive = model(view(batch.series)), model(view(batch.series))
        return losses.triplet_loss(anchor, positive, positive.roll(1, 0), margin=0.5)

    return Recipe(encoder, projector, loss_of)


METHODS = {f.__name__: f for f in (simclr, moco, moco_v3, supcon, triplet)}

if __name__ == "__main__":
    main(METHODS)
