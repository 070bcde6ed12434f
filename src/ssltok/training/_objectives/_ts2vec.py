"""TS2Vec as an objective: two crops of a series agree on the steps that both show."""

import torch
from einops import rearrange
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.augment import overlapping_crops
from ssltok.distributed import gather
from ssltok.losses import hierarchical_contrastive_loss
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._hidden import check_draws
from ssltok.training._objectives._parts import encoder_size
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import check_views, logged, token_valid

__all__ = ["TS2Vec"]


@documented
class TS2Vec(PlainObjective):
    """Contrast each time step with other steps and other series, at every scale.

    Two crops of the view overlap, half of the steps of each are hidden, and
    `hierarchical_contrastive_loss` compares what the encoder makes of the shared steps. The
    encoder has a token for each sample, `encoder.frames` of them in whole series, and takes
    `masked=`, such as `DilatedConvEncoder` behind an adapter. Nothing else is trained. Padding
    counts as steps whose vector is 0: the loss compares series step by step and cannot leave some
    out.

    An encoder of fewer places than samples (or of several tokens for a place) cannot be given a
    crop: it sees the whole series with all places outside the crop hidden too, and each of its
    rows of tokens counts as a series.

    Args:
        encoder: Gives the length of a series; see `Objective` for what it must be.
        mask_ratio: Probability with which a step is hidden, in [0, 1]; 0.5 in the paper.
        least_overlap: The fewest samples that both crops show; 2 in the authors' code.
        instance_weight: Weight of the contrast with other series, in [0, 1]; the rest is that
            of the contrast with other steps.
        temporal_unit: The first scale with a contrast of steps; raise it for long series.

    Example:
        >>> import torch
        >>> from ssltok.nn import DilatedConvEncoder
        >>> from ssltok.training import ObjectiveBatch, TS2Vec
        >>> class Steps(torch.nn.Module):
        ...     dim, frames, rows = 8, 20, 1
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.steps = DilatedConvEncoder(2, 8, hidden_dim=4, depth=2)
        ...     def forward(self, series, valid=None, *, masked=None):
        ...         return self.steps(series, valid, mask=masked).transpose(1, 2)
        >>> encoder = Steps()
        >>> objective = TS2Vec(encoder)
        >>> draws = objective.draw(6, torch.Generator().manual_seed(0))
        >>> series = torch.randn(6, 2, 20)
        >>> objective(encoder, ObjectiveBatch((series,), draws=draws)).loss.shape
        torch.Size([])

    References:
        Yue et al., *TS2Vec*, 2022, <https://arxiv.org/abs/2106.10466>, section 3.
    """

    views = 1

    by_token = True

    def __init__(
        self,
        encoder: nn.Module,
        *,
        mask_ratio: float = 0.5,
        least_overlap: int = 2,
        instance_weight: float = 0.5,
        temporal_unit: int = 0,
    ) -> None:
        super().__init__()
        encoder_size("TS2Vec", encoder)
        self.frames = encoder_size("TS2Vec", encoder, "frames")
        self.rows = encoder_size("TS2Vec", encoder, "rows")
        check_ratio("TS2Vec", "mask_ratio", mask_ratio)
        check_at_least("TS2Vec", "least_overlap", least_overlap, 1)
        check_at_least("TS2Vec", "frames of the encoder", self.frames, least_overlap)
        check_ratio("TS2Vec", "instance_weight", instance_weight)
        check_at_least("TS2Vec", "temporal_unit", temporal_unit, 0)
        self.mask_ratio, self.least_overlap = mask_ratio, least_overlap
        self.instance_weight, self.temporal_unit = instance_weight, temporal_unit

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw two crops and what is hidden of them.

        Args:
            cases: Series of the whole batch.
            generator: The source of randomness.

        Returns:
            The samples of the first crop, those of the second, which steps of each are hidden,
            and the samples that both show, the last of the first crop and the first of the second:
            `(cases, length)` each, of three lengths.
        """
        samples = torch.arange(self.frames, device=generator.device, dtype=torch.float32)
        crops = overlapping_crops(
            samples.expand(cases, 1, -1), least_overlap=self.least_overlap, generator=generator
        )
        first, second = crops.first.squeeze(1).long(), crops.second.squeeze(1).long()
        hidden = [
            torch.rand(part.shape, generator=generator, device=generator.device) < self.mask_ratio
            for part in (first, second)
        ]
        return first, second, *hidden, first[:, crops.first_overlap]

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of one view, cut twice by the draws."""
        batch = batch._replace(features=None)
        check_views("TS2Vec", batch, self.views)
        (series,) = batch.views
        if series.shape[2] < self.frames:
            raise ValueError(
                f"TS2Vec: length must be at least {self.frames}, the encoder's frames; "
                f"got {series.shape[2]}"
            )
        check_draws("TS2Vec", batch, 5)
        first, second, hidden_first, hidden_second, shared = batch.draws
        steps = shared.shape[1]
        whole = series.shape[2] > self.frames or self.rows > 1

        def of(crop: Tensor, hidden: Tensor) -> Tensor:
            part = series.gather(2, crop[:, None].expand(-1, series.shape[1], -1))
            if batch.valid is None:
                vectors = encoder(part, masked=hidden)
            else:
                real = batch.valid.gather(1, crop)
                vectors = encoder(part, valid=real, masked=hidden)
                vectors = vectors.masked_fill(~real.unsqueeze(2), 0)
            if vectors.shape[:2] != crop.shape:
                raise ValueError(
                    "TS2Vec: the encoder must return a token for each sample, "
                    f"{tuple(crop.shape)}; got {tuple(vectors.shape)}"
                )
            return gather(vectors)

        def of_places(crop: Tensor, hidden: Tensor) -> Tensor:
            masked = torch.ones(len(series), self.frames, dtype=torch.bool, device=series.device)
            masked = masked.scatter(1, crop, hidden)
            if batch.valid is None:
                vectors = encoder(series, masked=masked)
            else:
                vectors = encoder(series, valid=batch.valid, masked=masked)
                real = token_valid("TS2Vec", encoder, batch.valid)
                vectors = vectors.masked_fill(~real.unsqueeze(2), 0)
            pattern = "batch (freq frames) dim -> (batch freq) frames dim"
            rows = rearrange(vectors, pattern, frames=self.frames)
            index = crop.repeat_interleave(self.rows, dim=0).unsqueeze(2)
            return gather(rows.gather(1, index.expand(-1, -1, rows.shape[2])))

        see = of_places if whole else of
        loss = hierarchical_contrastive_loss(
            see(first, hidden_first)[:, -steps:], see(second, hidden_second)[:, :steps],
            instance_weight=self.instance_weight, temporal_unit=self.temporal_unit,
        )  # fmt: skip
        return ObjectiveOutput(loss, logged(contrast=loss))
