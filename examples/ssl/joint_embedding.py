"""Joint-embedding prediction: from one part of a series, the latents of other parts (I-JEPA).

    python examples/ssl/joint_embedding.py --data GunPoint

The encoder sees a large block of patches without the targets, a narrow predictor is told where
the targets are, and a slow teacher that sees everything says what should be there.
"""

from data import Data
from encoders import DIM, PatchEncoder
from loop import main
from recipe import Batch, Recipe
from torch import Tensor
from torch.nn.functional import layer_norm

from ssltok.losses import latent_regression_loss
from ssltok.masking import multiblock_mask
from ssltok.nn import JEPAPredictor, Transformer, token_places
from ssltok.state import EMATeacher

TARGETS = 4


def ijepa(data: Data, *, momentum: float = 0.95, scale: float = 0.25) -> Recipe:
    encoder = PatchEncoder(data)
    predictor = JEPAPredictor(DIM, Transformer(32, depth=1, heads=2))
    teacher = EMATeacher(encoder.vit)

    def loss_of(batch: Batch, step: int) -> Tensor:
        shape = (len(batch.series), encoder.count)
        hidden, targets = multiblock_mask(shape, targets=TARGETS, target_scale=(0.6 * scale, scale))
        here = token_places(~hidden, slots=encoder.count)
        there = token_places(targets.flatten(0, 1), slots=int(scale * encoder.count) + 1)
        context = encoder.vit(batch.series, visible=here)
        # A block is predicted without the others: each row of the batch once for each block.
        pred = predictor(
            context.repeat_interleave(TARGETS, 0), here.repeat_interleave(TARGETS, 0), there
        )
        known = layer_norm(teacher(batch.series), (DIM,)).repeat_interleave(TARGETS, 0)
        index = there.clamp(min=0)[..., None].expand(-1, -1, DIM)
        return latent_regression_loss(pred, known.gather(1, index), there >= 0)

    def after_step(step: int) -> None:
        teacher.update(encoder.vit, momentum=momentum)

    return Recipe(encoder, predictor, loss_of, after_step, steps=600)


METHODS = {"ijepa": ijepa}

if __name__ == "__main__":
    main(METHODS)
