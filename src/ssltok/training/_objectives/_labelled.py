"""What objectives of labels share: the rows of all views and processes, and the label of each."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_axes, check_codes
from ssltok.distributed import gather
from ssltok.losses import LabelPairs
from ssltok.training._objectives._protocol import ObjectiveBatch
from ssltok.training._objectives._rows import (
    Pool,
    check_views,
    features_of,
    projected,
    rows_of,
    same_rows,
)

__all__ = ["Miner", "labelled_rows"]

Miner = Callable[[Tensor, Tensor], LabelPairs]
"""From rows `(batch, dim)` and labels `(batch,)` to the pairs that count."""


def labelled_rows(
    who: str,
    encoder: nn.Module,
    batch: ObjectiveBatch,
    *,
    head: nn.Module,
    pool: Pool | None,
    views: int,
) -> tuple[Tensor, Tensor]:
    """Return projections and labels of all views and processes, `(rows, dim)` and `(rows,)`.

    What has no label gets one of its own, which only its other views share.
    """
    check_views(who, batch, views)
    if batch.labels is None:
        raise ValueError(f"{who}: labels must be given, -1 where there is none; got None")
    check_codes(who, "labels", batch.labels)
    check_axes(who, "labels", batch.labels, "batch")
    features = features_of(who, encoder, batch)
    cases, labels = len(features[0]), batch.labels
    if len(labels) != cases:
        raise ValueError(f"{who}: labels must be {cases}, one a series; got {len(labels)}")
    rows = projected(who, encoder, batch._replace(features=features), head=head, pool=pool)
    if pool is None and features[0].ndim == 3:
        tokens = labels.view(-1, 1, 1).expand(*features[0].shape[:2], 1)
        labels = rows_of(who, encoder, tokens, batch.valid, None).squeeze(1)
    labels = gather(labels)
    unique = labels.amax().clamp(min=-1) + 1 + torch.arange(len(labels), device=labels.device)
    labels = torch.where(labels >= 0, labels, unique)
    z = torch.cat(same_rows(who, list(map(gather, rows))))
    return z, labels.repeat(views)
