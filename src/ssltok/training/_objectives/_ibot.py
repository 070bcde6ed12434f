"""iBOT as an objective: hidden places and whole series follow a slow teacher's scores."""

from functools import partial

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_positive, check_ratio
from ssltok.losses import center_and_sharpen, dino_loss, ibot_patch_loss
from ssltok.masking import block_mask
from ssltok.nn import mean_pool
from ssltok.state import EMATeacher, RunningCenter
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._hidden import (
    Sampler,
    check_draws,
    draw_mask,
    encode,
    masked_tokens,
    places_of,
)
from ssltok.training._objectives._parts import head_of
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import check_views, logged, whole_batch_mean

__all__ = ["IBOT"]

BLOCKS = partial(block_mask, ratio=0.3, least_area=1)


@documented
class IBOT(PlainObjective):
    """Follow a slow teacher's scores of hidden places, and of the mean of the other view.

    `ibot_patch_loss` of the places that the student does not see, plus `dino_loss` of the means
    over the tokens of two views, both at the paper's student temperature of 0.1. The teacher sees
    everything, in evaluation mode. `update` moves it, and then two centres, by the scores of all
    processes. Departures: the mean stands for the class token; the heads share nothing.

    Args:
        encoder: Gives the number of features and of places; see `Objective` for what it must be.
        prototypes: How many scores there are; the paper's 8192 for a million images, 1024 by
            default.
        hidden_dim: Width of the hidden layers of the two `DINOHead`s; the paper's 2048.
        bottleneck_dim: Features of their bottleneck; the paper's 256.
        head: A module of your own for the means, from `(rows, dim)` to `(rows, prototypes)`; its
            width takes the place of `prototypes`.
        patch_head: The same for the tokens.
        sampler: Draws masks, `sampler((cases, frames), generator=generator, device=device)`,
            boolean of that shape, True where hidden: such as a function of `ssltok.masking` with
            its options bound. Blocks, 30% in all, by default.
        momentum: Share of the teacher that an update keeps, in [0, 1]; 0.996 at the paper's start.
            The attribute of that name may be set before each update, to follow a schedule.
        teacher_temperature: Above 0; 0.04 at the start of the paper, 0.07 at most. An attribute as
            `momentum`.

    Example:
        >>> import torch
        >>> from ssltok.nn import PatchEmbed1d, Transformer, ViT1d
        >>> from ssltok.training import IBOT, ObjectiveBatch
        >>> class Patches(torch.nn.Module):
        ...     dim, frames, rows = 8, 5, 1
        ...     def __init__(self):
        ...         super().__init__()
        ...         embedding, trunk = PatchEmbed1d(2, 8, patch=4), Transformer(8, depth=2, heads=2)
        ...         self.vit = ViT1d(embedding, trunk, class_token=False, mask_token=True)
        ...     def forward(self, series, valid=None, *, masked=None, visible=None):
        ...         return self.vit(series, valid=valid, masked=masked, visible=visible)
        >>> encoder = Patches()
        >>> objective = IBOT(encoder, prototypes=32, hidden_dim=16, bottleneck_dim=8)
        >>> draws = objective.draw(6, torch.Generator().manual_seed(0))
        >>> views = torch.randn(6, 2, 20), torch.randn(6, 2, 20)
        >>> sorted(objective(encoder, ObjectiveBatch(views, draws=draws)).logged)
        ['patches', 'series']

    References:
        Zhou et al., *iBOT*, 2022, <https://arxiv.org/abs/2111.07832>, section 3.
    """

    by_token = True

    def __init__(
        self,
        encoder: nn.Module,
        *,
        prototypes: int = 1024,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        head: nn.Module | None = None,
        patch_head: nn.Module | None = None,
        sampler: Sampler = BLOCKS,
        momentum: float = 0.996,
        teacher_temperature: float = 0.04,
    ) -> None:
        super().__init__()
        dim, self.frames, self.rows = places_of("IBOT", encoder, "masked")
        check_ratio("IBOT", "momentum", momentum)
        check_positive("IBOT", "teacher_temperature", teacher_temperature)
        sizes = {"hidden_dim": hidden_dim, "bottleneck_dim": bottleneck_dim}
        self.head, self.prototypes = head_of("IBOT", head, dim, prototypes=prototypes, **sizes)
        self.patch_head, patch_prototypes = head_of(
            "IBOT", patch_head, dim, prototypes=self.prototypes, **sizes
        )
        self.hidden_dim, self.bottleneck_dim = hidden_dim, bottleneck_dim
        self.sampler, self.momentum = sampler, momentum
        self.teacher_temperature = teacher_temperature
        self.teacher = EMATeacher(Scorer(encoder, self.head, self.patch_head))
        self.center = RunningCenter(self.prototypes)
        self.patch_center = RunningCenter(patch_prototypes)

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw which places of each of the two views are hidden, boolean `(cases, frames)` each."""
        return draw_mask("IBOT", self.sampler, (2 * cases, self.frames), generator).chunk(2)

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of two views with the draws."""
        batch = batch._replace(features=None)
        check_views("IBOT", batch, self.views)
        check_draws("IBOT", batch, 2)
        series, mask = torch.cat(batch.views), torch.cat(batch.draws)
        valid = None if batch.valid is None else batch.valid.repeat(2, 1)
        counted, real = masked_tokens(
            "IBOT", encoder, mask, valid, frames=self.frames, rows=self.rows
        )
        student = Scorer(encoder, self.head, self.patch_head)
        tokens = counted.shape[1]
        scores, patches = student(series, valid, real, tokens, mask)
        known, known_patches = self.teacher(series, valid, real, tokens)
        temperature = self.teacher_temperature
        whole = center_and_sharpen(known, self.center(), temperature=temperature)
        places = center_and_sharpen(known_patches, self.patch_center(), temperature=temperature)
        cases = len(batch.views[0])
        dino = dino_loss(scores.unflatten(0, (2, cases)), whole.unflatten(0, (2, cases)))
        ibot = ibot_patch_loss(patches, places, counted)
        dino, ibot = whole_batch_mean(dino, cases), whole_batch_mean(ibot, cases)
        seen = known_patches.flatten(0, 1) if real is None else known_patches[real]
        return ObjectiveOutput(dino + ibot, logged(series=dino, patches=ibot), (known, seen))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Move the teacher, then the centres."""
        student = Scorer(encoder, self.head, self.patch_head)
        self.teacher.update(student, momentum=self.momentum)
        self.center.update(memory[0])
        self.patch_center.update(memory[1])


class Scorer(nn.Module):
    """An encoder and its two heads: what the teacher copies."""

    def __init__(self, encoder: nn.Module, head: nn.Module, patch_head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head, self.patch_head = encoder, head, patch_head

    def forward(
        self,
        series: Tensor,
        valid: Tensor | None,
        real: Tensor | None,
        tokens: int,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the scores of series, `(batch, prototypes)`, and those of their tokens."""
        options = {} if mask is None else {"masked": mask}
        features = encode("IBOT", self.encoder, series, valid, tokens=tokens, **options)
        pooled = mean_pool(features, real, channel_dim=-1)
        patches: Tensor = self.patch_head(features.flatten(0, 1))
        return self.head(pooled), patches.unflatten(0, features.shape[:2])
