"""Distillation of tokens: besides the whole series, each of its patches follows a slow teacher.

    python examples/ssl/token_distillation.py --method esvit --data GunPoint

`ibot`: hidden patches follow the teacher's scores of them, the mean of the patches those of
another view. `dinov2`: with optimal transport instead of centres, and features spread by KoLeo.
`esvit`: nothing is hidden; a patch follows the patch of another view that it resembles most.
"""

import torch
from data import Data
from encoders import PatchEncoder, Scorer, mean_tokens
from loop import main
from recipe import Batch, Recipe
from torch import Tensor
from views import mild, view

from ssltok import losses
from ssltok.masking import block_mask
from ssltok.state import EMATeacher, RunningCenter

PROTOTYPES = 128


def hidden_patches(
    data: Data,
    *,
    centers: tuple[RunningCenter, ...] = (),
    koleo_weight: float = 0.0,
    crop: bool = False,
) -> Recipe:
    """Follow the teacher's scores of the other view and of hidden patches."""
    look = view if crop else mild
    encoder = PatchEncoder(data)
    student = Scorer(encoder, PROTOTYPES)
    teacher = EMATeacher(student)
    seen: list[Tensor] = []

    def target(scores: Tensor, level: int) -> Tensor:
        if centers:
            return losses.center_and_sharpen(scores, centers[level]())
        return losses.sinkhorn(scores.flatten(0, -2)).view_as(scores)

    def loss_of(batch: Batch, step: int) -> Tensor:
        views = torch.cat([look(batch.series), look(batch.series)])
        mask = block_mask((len(views), encoder.count), ratio=0.3, least_area=2)
        _, *seen[:] = teacher(views)
        features, scores, patches = student(views, mask)
        whole = target(seen[0], 0).unflatten(0, (2, -1))
        dino = losses.dino_loss(scores.unflatten(0, (2, -1)), whole)
        ibot = losses.ibot_patch_loss(patches, target(seen[1], 1), mask)
        spread = sum(losses.koleo_loss(mean_tokens(part)) for part in features.chunk(2))
        return dino + ibot + koleo_weight * spread

    def after_step(step: int) -> None:
        teacher.update(student, momentum=0.95)
        for center, scores in zip(centers, seen, strict=False):
            center.update(scores.flatten(0, -2))

    return Recipe(encoder, student.heads, loss_of, after_step, learning_rate=1e-3, steps=600)


def ibot(data: Data, *, crop: bool = False) -> Recipe:
    centers = RunningCenter(PROTOTYPES), RunningCenter(PROTOTYPES)
    return hidden_patches(data, centers=centers, crop=crop)


def dinov2(data: Data, *, crop: bool = False) -> Recipe:
    return hidden_patches(data, koleo_weight=0.1, crop=crop)


def esvit(data: Data, *, crop: bool = False) -> Recipe:
    look = view if crop else mild
    encoder = PatchEncoder(data)
    student = Scorer(encoder, PROTOTYPES)
    teacher = EMATeacher(student)

    def loss_of(batch: Batch, step: int) -> Tensor:
        views = [look(batch.series), look(batch.series)]
        found, known = [student(one) for one in views], [teacher(one) for one in views]
        whole = torch.stack([losses.sinkhorn(scores) for _, scores, _ in known])
        dino = losses.dino_loss(torch.stack([scores for _, scores, _ in found]), whole)
        region = torch.zeros(())
        for (features, _, patches), (theirs, _, scores) in zip(found, known[::-1], strict=True):
            target = losses.sinkhorn(scores.flatten(0, 1)).view_as(scores)
            region = region + losses.region_distillation_loss(patches, target, features, theirs) / 2
        return (dino + region) / 2

    def after_step(step: int) -> None:
        teacher.update(student, momentum=0.95)

    return Recipe(encoder, student.heads, loss_of, after_step, learning_rate=1e-3, steps=600)


METHODS = {f.__name__: f for f in (ibot, dinov2, esvit)}

if __name__ == "__main__":
    main(METHODS)
