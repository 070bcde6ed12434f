"""Clustering: views of one series belong to the same prototypes.

    python examples/ssl/clustering.py --method swav --data GunPoint

`swav`: a view's scores predict the assignment of another, and assignments use all prototypes
alike (optimal transport). `msn`: a series of which half the patches are dropped goes to the same
prototypes as the whole one.
"""

import torch
from data import Data
from encoders import DIM, ConvEncoder, PatchEncoder, mean_tokens
from loop import main
from recipe import Batch, Recipe
from torch import Tensor, nn
from views import jitter, mild, view

from ssltok import losses
from ssltok.augment import multi_crop
from ssltok.masking import random_mask
from ssltok.nn import Projector
from ssltok.state import EMATeacher, Prototypes

PROTOTYPES = 64


def swav(data: Data) -> Recipe:
    encoder = ConvEncoder(data)
    projector = Projector(DIM, hidden_dim=128, out_dim=32, layers=2)
    prototypes = Prototypes(32, PROTOTYPES)
    model = nn.Sequential(encoder, projector, prototypes)

    def loss_of(batch: Batch, step: int) -> Tensor:
        crops = multi_crop(
            batch.series, local_length=data.length // 2, local_views=2,
            global_range=(0.6, 1.0), local_range=(0.3, 0.6),
        )  # fmt: skip
        scores = torch.stack([model(jitter(crop)) for part in crops for crop in part])
        assigned = torch.stack([losses.sinkhorn(one) for one in scores[:2]])
        return losses.swapped_prediction_loss(scores, assigned)

    def after_step(step: int) -> None:
        prototypes.update()

    return Recipe(encoder, nn.ModuleList([projector, prototypes]), loss_of, after_step)


def msn(data: Data, *, crop: bool = False) -> Recipe:
    look = view if crop else mild
    encoder, projector = PatchEncoder(data), Projector(DIM, hidden_dim=128, out_dim=32)
    prototypes = Prototypes(32, PROTOTYPES)
    student = nn.Sequential(encoder, projector)
    teacher = EMATeacher(student, training=True)

    def loss_of(batch: Batch, step: int) -> Tensor:
        shape, series = (len(batch.series), encoder.count), batch.series
        seen = [random_mask(shape, ratio=0.5).visible for _ in range(2)]
        parts = [mean_tokens(encoder.vit(look(series), visible=places)) for places in seen]
        anchors = torch.stack([prototypes(projector(part)) for part in parts])
        whole = prototypes(teacher(look(series)))
        sharp = (whole.detach() / 0.025).log_softmax(-1)
        return losses.msn_loss(anchors, losses.sinkhorn(sharp, epsilon=1.0))

    def after_step(step: int) -> None:
        prototypes.update()
        teacher.update(student, momentum=0.95)

    return Recipe(encoder, nn.ModuleList([projector, prototypes]), loss_of, after_step, steps=600)


METHODS = {f.__name__: f for f in (swav, msn)}

if __name__ == "__main__":
    main(METHODS)
