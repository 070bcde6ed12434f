"""CAPI as an objective: predict, of hidden places, the cluster that a slow teacher puts them in."""

from functools import partial

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_positive, check_ratio
from ssltok.distributed import gather
from ssltok.losses import capi_loss, sinkhorn
from ssltok.masking import block_mask
from ssltok.state import EMATeacher, Prototypes
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._hidden import (
    Sampler,
    check_draws,
    draw_mask,
    encode,
    masked_tokens,
    places_of,
)
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import check_views, logged, whole_batch_mean

__all__ = ["CAPI"]

BLOCKS = partial(block_mask, ratio=0.65, least_area=1)


@documented
class CAPI(PlainObjective):
    """Hide places of a series, and predict which cluster a slow teacher puts each of them in.

    The teacher's tokens are scored against clusters, a layer that learns with the rest, and
    `sinkhorn` of each place by itself makes them targets: every place uses every cluster, so that
    none stands for a place. `capi_loss` of the student's prototypes at hidden places, and of the
    clusters' own scores at all. Departures: hidden places are mask tokens in the encoder, where the
    authors predict them with a decoder of their own; and one optimiser moves all, where theirs has
    a second one for the clusters.

    Args:
        encoder: Gives `dim`, `frames` and `rows`, and takes `masked=`; see `Objective`.
        prototypes: How many clusters there are; 16,384 in the paper.
        sampler: What draws the mask, from a shape and a generator; blocks of 65 % by default, the
            paper's share.
        momentum: Share of the teacher that an update keeps, in [0, 1]. The attribute of that name
            may be set before each update, to follow a schedule.
        temperature: The student's and the clusters', above 0; the paper's 0.12.
        teacher_temperature: The softness of the assignments, above 0; the paper's 0.06.

    Example:
        >>> import torch
        >>> from ssltok.nn import PatchEmbed1d, Transformer, ViT1d
        >>> from ssltok.training import CAPI, ObjectiveBatch
        >>> class Patches(torch.nn.Module):
        ...     dim, frames, rows = 8, 5, 1
        ...     def __init__(self):
        ...         super().__init__()
        ...         embedding, trunk = PatchEmbed1d(2, 8, patch=4), Transformer(8, depth=2, heads=2)
        ...         self.vit = ViT1d(embedding, trunk, class_token=False, mask_token=True)
        ...     def forward(self, series, valid=None, *, masked=None):
        ...         return self.vit(series, valid=valid, masked=masked)
        >>> encoder = Patches()
        >>> objective = CAPI(encoder, prototypes=16)
        >>> draws = objective.draw(6, torch.Generator().manual_seed(0))
        >>> batch = ObjectiveBatch((torch.randn(6, 2, 20),), draws=draws)
        >>> sorted(objective(encoder, batch).logged)
        ['clusters', 'prediction']

    References:
        Darcet et al., *Cluster and Predict Latent Patches for Improved Masked Image Modeling*,
        2025, <https://arxiv.org/abs/2502.08769>.
    """

    views = 1

    by_token = True

    def __init__(
        self,
        encoder: nn.Module,
        *,
        prototypes: int = 1024,
        sampler: Sampler = BLOCKS,
        momentum: float = 0.999,
        temperature: float = 0.12,
        teacher_temperature: float = 0.06,
    ) -> None:
        super().__init__()
        dim, self.frames, self.rows = places_of("CAPI", encoder, "masked")
        check_at_least("CAPI", "prototypes", prototypes, 1)
        check_ratio("CAPI", "momentum", momentum)
        check_positive("CAPI", "temperature", temperature)
        check_positive("CAPI", "teacher_temperature", teacher_temperature)
        self.prototypes, self.sampler, self.momentum = prototypes, sampler, momentum
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.teacher = EMATeacher(encoder)
        self.assign = Prototypes(dim, prototypes)
        self.clusters = nn.Linear(dim, prototypes)
        nn.init.normal_(self.clusters.weight)
        nn.init.zeros_(self.clusters.bias)

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw which places are hidden, boolean `(cases, frames)`."""
        return (draw_mask("CAPI", self.sampler, (cases, self.frames), generator),)

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of one view with the draws."""
        batch = batch._replace(features=None)
        check_views("CAPI", batch, self.views)
        check_draws("CAPI", batch, 1)
        (series,), valid, (mask,) = batch.views, batch.valid, batch.draws
        counted, real = masked_tokens(
            "CAPI", encoder, mask, valid, frames=self.frames, rows=self.rows
        )
        tokens = counted.shape[1]
        with torch.no_grad():
            known = encode("CAPI", self.teacher.model, series, valid, tokens=tokens)
            if real is not None:
                known = torch.where(real.unsqueeze(2), known, 0)
            known = nn.functional.normalize(known, dim=2, eps=1e-7)
        logits = self.clusters(known)
        assignments = sinkhorn(
            logits.detach().transpose(0, 1), None if real is None else real.mT,
            epsilon=self.teacher_temperature, gather=gather,
        ).transpose(0, 1)  # fmt: skip
        every = torch.ones_like(counted) if real is None else real
        scores = self.assign(encode("CAPI", encoder, series, valid, tokens=tokens, masked=mask))
        temperature = self.temperature
        prediction = capi_loss(scores, assignments, counted, temperature=temperature)
        clusters = capi_loss(logits, assignments, every, temperature=temperature)
        prediction = whole_batch_mean(prediction, counted.sum())
        clusters = whole_batch_mean(clusters, every.sum())
        terms = logged(prediction=prediction, clusters=clusters)
        return ObjectiveOutput(prediction + clusters, terms)

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Move the teacher, and bring the student's prototypes back to norm 1."""
        self.teacher.update(encoder, momentum=self.momentum)
        self.assign.update()
