"""What objectives of labels share: the rows of all views and processes, and the label of each."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_axes, check_codes
from ssltok.distributed import gather
from ssltok.losses import LabelPairs
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch
from ssltok.training._objectives._rows import (
    check_views,
    features_of,
    projected,
    rows_of,
    same_rows,
)

__all__ = ["Miner", "check_miner", "labelled_rows"]

Miner = Callable[[Tensor, Tensor], LabelPairs]
"""From rows `(batch, dim)` and labels `(batch,)` to the pairs that count."""


def check_miner(who: str, miner: object) -> None:
    """Ask that a miner can be called."""
    if not callable(miner):
        raise TypeError(f"{who}: miner must be callable; got {type(miner).__name__}")


def labelled_rows(
    objective: PlainObjective, encoder: nn.Module, batch: ObjectiveBatch
) -> tuple[Tensor, Tensor]:
    """Return projections and labels of all views and processes, `(rows, dim)` and `(rows,)`.

    What has no label gets one of its own, which only its other views share.
    """
    who, pool = type(objective).__name__, objective.pool
    check_views(who, batch, objective.views)
    if batch.labels is None:
        raise ValueError(f"{who}: labels must be given, -1 where there is none; got None")
    check_codes(who, "labels", batch.labels)
    check_axes(who, "labels", batch.labels, "batch")
    features = features_of(who, encoder, batch)
    cases, labels = len(features[0]), batch.labels
    if len(labels) != cases:
        raise ValueError(f"{who}: labels must be {cases}, one a series; got {len(labels)}")
    rows = projected(
        who, encoder, batch._replace(features=features), head=objective.projector, pool=pool
    )
    if pool is None and features[0].ndim == 3:
        tokens = labels.view(-1, 1, 1).expand(*features[0].shape[:2], 1)
        labels = rows_of(who, encoder, tokens, batch.valid, None).squeeze(1)
    labels = gather(labels)
    unique = labels.amax().clamp(min=-1) + 1 + torch.arange(len(labels), device=labels.device)
    labels = torch.where(labels >= 0, labels, unique)
    z = torch.cat(same_rows(who, list(map(gather, rows))))
    return z, labels.repeat(objective.views)
