"""Distillation: a student learns what a teacher says of augmented series.

    python examples/ssl/distillation.py --method deit --data GunPoint

`noisy_student`: a teacher with a fifth of the labels; what it is sure of becomes the label of the
augmented series. `hinton`: its soft scores. `deit`: patches with a token for the verdict of a
convolutional teacher beside that for the truth. `simclr_v2`: contrast without labels, fine-tuning
from the projector's first layer on a fifth of them, then a student.
"""

from collections.abc import Callable

from contrastive import simclr
from data import Data
from encoders import DIM, ConvEncoder, TwoTokenEncoder
from loop import main, train
from recipe import Batch, Recipe
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from views import view

from ssltok.losses import distillation_loss, hard_distillation_loss, pseudo_labels

TEACHER_STEPS = 100


def few(data: Data) -> Data:
    """Keep every fifth training series of each class."""
    kept = data.train_labels.argsort(stable=True)[::5]
    return data._replace(train=data.train[kept], train_labels=data.train_labels[kept])


def taught(model: nn.Module, data: Data) -> Callable[[Tensor], Tensor]:
    """Fit a network that ends in scores of the classes to labelled series; return its scores."""

    def loss_of(batch: Batch, step: int) -> Tensor:
        return cross_entropy(model(view(batch.series)), batch.labels)

    train(Recipe(model, nn.ModuleList(), loss_of), data, TEACHER_STEPS)
    return model.requires_grad_(False).eval()


def teacher_of(data: Data) -> Callable[[Tensor], Tensor]:
    return taught(nn.Sequential(ConvEncoder(data), nn.Linear(DIM, data.classes)), data)


def student_of(data: Data, loss: Callable[[Tensor, Tensor], Tensor]) -> Recipe:
    """Let the scores of augmented series follow, by `loss`, what is asked of the plain ones."""
    encoder, head = ConvEncoder(data), nn.Linear(DIM, data.classes)
    return Recipe(encoder, head, lambda b, _: loss(head(encoder(view(b.series))), b.series))


def noisy_student(data: Data) -> Recipe:
    def loss(scores: Tensor, series: Tensor) -> Tensor:
        found = pseudo_labels(teacher(series), threshold=0.3)
        return (found.weights * cross_entropy(scores, found.labels, reduction="none")).mean()

    recipe, teacher = student_of(data, loss), teacher_of(few(data))
    return recipe


def hinton(data: Data) -> Recipe:
    recipe = student_of(data, lambda scores, series: distillation_loss(scores, teacher(series)))
    teacher = teacher_of(few(data))
    return recipe


def simclr_v2(data: Data) -> Recipe:
    recipe = student_of(data, lambda scores, series: distillation_loss(scores, teacher(series)))
    contrast = simclr(data)
    train(contrast, data, TEACHER_STEPS)
    kept = contrast.parts.mlp[:3]  # SimCLR v2 fine-tunes from here, not from the encoder
    model = nn.Sequential(contrast.encoder, kept, nn.Linear(128, data.classes))
    teacher = taught(model, few(data))
    return recipe


def deit(data: Data) -> Recipe:
    encoder, heads = (
        TwoTokenEncoder(data),
        nn.ModuleList(nn.Linear(DIM, data.classes) for _ in range(2)),
    )
    teacher = teacher_of(data)

    def loss_of(batch: Batch, step: int) -> Tensor:
        series = view(batch.series)  # the teacher sees what the student sees
        tokens = encoder.vit(series)
        truth = cross_entropy(heads[0](tokens[:, 0]), batch.labels)
        return (truth + hard_distillation_loss(heads[1](tokens[:, 1]), teacher(series))) / 2

    return Recipe(encoder, heads, loss_of, steps=600)


METHODS = {f.__name__: f for f in (noisy_student, hinton, deit, simclr_v2)}

if __name__ == "__main__":
    main(METHODS)
