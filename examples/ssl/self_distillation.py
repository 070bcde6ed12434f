"""Self-distillation: predict what another branch makes of another view; no negatives.

    python examples/ssl/self_distillation.py --method dino --data GunPoint

`byol`: a predictor follows a slow teacher. `simsiam`: it follows the network itself, held still.
`dino`: small and large crops follow the teacher's centred, sharpened scores of the large ones.
"""

import torch
from data import Data
from encoders import DIM, ConvEncoder
from loop import main
from recipe import Batch, Recipe
from torch import Tensor, nn
from views import jitter, view

from ssltok import losses
from ssltok.augment import multi_crop
from ssltok.nn import DINOHead, Predictor, Projector
from ssltok.state import EMATeacher, RunningCenter

PROTOTYPES = 128


def byol(data: Data) -> Recipe:
    encoder, projector = ConvEncoder(data), Projector(DIM, hidden_dim=128, out_dim=64, layers=2)
    model, predictor = nn.Sequential(encoder, projector), Predictor(64, hidden_dim=128)
    teacher = EMATeacher(model, training=True)

    def loss_of(batch: Batch, step: int) -> Tensor:
        a, b = view(batch.series), view(batch.series)
        one = losses.cosine_regression_loss(predictor(model(a)), teacher(b))
        return one + losses.cosine_regression_loss(predictor(model(b)), teacher(a))

    def after_step(step: int) -> None:
        teacher.update(model, momentum=0.95)

    return Recipe(encoder, nn.ModuleList([projector, predictor]), loss_of, after_step)


def simsiam(data: Data) -> Recipe:
    encoder = ConvEncoder(data)
    projector = Projector(
        DIM, hidden_dim=128, out_dim=128, whiten=nn.BatchNorm1d(128, affine=False)
    )
    predictor = Predictor(128, hidden_dim=32)

    def loss_of(batch: Batch, step: int) -> Tensor:
        z_a, z_b = (projector(encoder(view(batch.series))) for _ in range(2))
        one = losses.negative_cosine_loss(predictor(z_a), z_b)
        return (one + losses.negative_cosine_loss(predictor(z_b), z_a)) / 2

    return Recipe(encoder, nn.ModuleList([projector, predictor]), loss_of)


def dino(data: Data, *, momentum: float = 0.95) -> Recipe:
    encoder = ConvEncoder(data)
    head = DINOHead(DIM, out_dim=PROTOTYPES, hidden_dim=128, bottleneck_dim=32)
    model = nn.Sequential(encoder, head)
    teacher, center = EMATeacher(model, training=True), RunningCenter(PROTOTYPES)
    seen: list[Tensor] = []

    def loss_of(batch: Batch, step: int) -> Tensor:
        crops = multi_crop(
            batch.series, local_length=data.length // 2, local_views=2,
            global_range=(0.6, 1.0), local_range=(0.3, 0.6),
        )  # fmt: skip
        large, small = ([jitter(crop) for crop in part] for part in crops)
        seen[:] = [torch.stack([teacher(crop) for crop in large])]
        scores = torch.stack([model(crop) for crop in large + small])
        return losses.dino_loss(scores, losses.center_and_sharpen(seen[0], center()))

    def after_step(step: int) -> None:
        teacher.update(model, momentum=momentum)
        center.update(seen[0].flatten(0, 1))

    return Recipe(encoder, head, loss_of, after_step, learning_rate=1e-3)


METHODS = {f.__name__: f for f in (byol, simsiam, dino)}

if __name__ == "__main__":
    main(METHODS)
