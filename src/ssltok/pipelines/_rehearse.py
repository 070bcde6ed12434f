"""Before the first step: both stages, decoding and saving are tried, on copies that are dropped."""

import contextlib
import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ssltok._shared.describe import describe
from ssltok.data import SeriesSet, SourceSet
from ssltok.pipelines._generate import generate
from ssltok.pipelines._stage_two._conditions import Conditions
from ssltok.pipelines._stage_two._prior_stage import prior_stage
from ssltok.pipelines._stages import TokenizerModel, tokenizer_stage
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._uses._gaps import rehearse_fill
from ssltok.pipelines._words._build import build_decoding, build_prior, starting_codebooks
from ssltok.pipelines._words._config import Config
from ssltok.pipelines._words._parts import Parts
from ssltok.training import (
    LabelledNTXent,
    MultiSimilarity,
    SupCon,
    TrainingConfig,
    keyed_generator,
    seeded,
)

__all__ = ["rehearse"]

CHECKPOINTS = 2  # that a stage keeps
MADE_UP = 2**22  # tokens
MOMENTS = 2  # that AdamW keeps of a weight


def rehearse(
    model: TokenizerModel,
    data: SeriesSet | SourceSet,
    labels: Tensor,
    config: Config,
    parts: Parts,
    *,
    classes: int,
    seed: int,
    accelerator: Any,
    conditions: Conditions | None = None,
) -> int:
    """Take a batch through a step of stage 1, two series through stage 2, one through decoding.

    Nothing that is trained is touched: the step runs on a copy of the model.

    Args:
        model: Stage 1 as built; the tokenizer's scaler is fitted.
        data: The training series, in their units.
        labels: int64 `(cases,)`.
        config: What is not given as a part.
        parts: The caller's.
        classes: Number of classes.
        seed: The run's seed.
        accelerator: Says on which device, and which part of a batch is ours.
        conditions: What the prior is told of each series, at the model's scale.

    Returns:
        Bytes that checkpoints and the saved model take on the disk, at least.

    Raises:
        ValueError: If parts, config and data do not fit each other, or could not be saved.
        TypeError: If a part returns something else than it must.
    """
    tokenizer = model.tokenizer
    decoding = build_decoding(config.decoding, tokenizer, parts=parts)
    _check_mask(parts.mask, tokenizer)
    labelled = isinstance(model.objective, SupCon | MultiSimilarity | LabelledNTXent)
    if labelled and not bool((labels >= 0).any()):
        raise ValueError(
            f"fit: the objective {type(model.objective).__name__} must have labels, of some series "
            "at least; got none (without any, say NTXent)"
        )
    with seeded(keyed_generator(seed, "rehearsal").initial_seed()):
        with _told("the tokenizer, its objective and the data"):
            _step_one(model, data, labels, config, parts, seed, accelerator)
        with torch.no_grad(), _told("the prior, its mask and its loss"):
            books = starting_codebooks(tokenizer) if config.prior.start == "codebook" else None
            prior = build_prior(
                config.prior, tokenizer, classes=classes, codebooks=books, parts=parts,
                conditions=(0, 0) if conditions is None else conditions.sizes,
            )  # fmt: skip
            some = _enough(data.cases, sum(tokenizer.sizes), config.prior_training)
            codes = _some_codes(tokenizer, data.lengths[:some])
            stage, _, _ = prior_stage(
                prior, codes, labels[:some], config, seed=seed, world=1, parts=parts,
                conditions=None if conditions is None else conditions.take(slice(some)),
            )  # fmt: skip
            stage.model(stage.draw(0, slice(0, 2)))
        with _told("decoding"):
            generate(
                tokenizer,
                prior,
                labels=labels[:1],
                lengths=data.lengths[:1],
                decoding=dataclasses.replace(decoding, steps=min(decoding.steps, 2)),
                conditions=None if conditions is None else conditions.take(slice(1)),
                generator=keyed_generator(seed, "rehearsal"),
            )
        if tokenizer.fill is not None:
            with torch.no_grad(), _told("the fill"):
                rehearse_fill(tokenizer, data.take(torch.arange(1)))
    for name, part in (("tokenizer", tokenizer), ("prior", prior)):
        describe(part, at=name)
    return _bytes_on_disk(model, prior, best=bool(config.tokenizer_training.patience))


def _step_one(
    model: TokenizerModel,
    data: SeriesSet | SourceSet,
    labels: Tensor,
    config: Config,
    parts: Parts,
    seed: int,
    accelerator: Any,
) -> None:
    """The first step of stage 1, without an optimizer, on a copy."""
    scaled = model.tokenizer.scaled(data)
    copied = copy.deepcopy(model).to(accelerator.device).train()
    rank, world = accelerator.process_index, accelerator.num_processes
    stage, training, _ = tokenizer_stage(
        copied, scaled, labels, config, seed=seed, world=world, augment=parts.augment
    )
    share = training.batch // (training.accumulation * world)
    batch = stage.draw(0, slice(rank * share, (rank + 1) * share))
    result = copied(_moved(batch, accelerator.device))
    if not bool(result.loss.isfinite()):
        raise ValueError(
            f"fit: the first loss must be finite; got {float(result.loss)} "
            f"({', '.join(k for k, v in result.logged.items() if not bool(v.isfinite()))})"
        )
    result.loss.backward()
    stage.after_step(0, [result])
    if stage.validate is not None:
        copied.eval()
        with torch.no_grad():
            stage.validate()


def _enough(cases: int, tokens: int, training: TrainingConfig) -> int:
    """Series whose codes are tried: all, but where they are too many to be made up."""
    held = math.ceil(1 / training.holdout_ratio) if training.holdout_ratio else 0
    return min(cases, max(MADE_UP // tokens, 2 * training.batch, held + 1))


def _some_codes(tokenizer: Tokenizer, lengths: Tensor) -> Tensor:
    """The first code of all at every token of series of these lengths."""
    valid = tokenizer.valid_tokens(lengths)
    codes = torch.zeros(valid.shape, dtype=torch.int64).masked_fill(~valid, -1)
    if tokenizer.codes_per_token > 1:
        codes = codes[..., None].repeat(1, 1, tokenizer.codes_per_token)
    return codes


def _check_mask(mask: Any, tokenizer: Tokenizer) -> None:
    """Try the prior's mask on two rows."""
    for tokens in tokenizer.sizes if mask is not None else ():
        valid = torch.ones(2, tokens, dtype=torch.bool)
        hidden = mask((2, tokens), valid=valid, generator=keyed_generator(0, "mask"))
        tensor = isinstance(hidden, Tensor)
        if not tensor or hidden.dtype != torch.bool or hidden.shape != valid.shape:
            fact = f"{hidden.dtype} {tuple(hidden.shape)}" if tensor else type(hidden).__name__
            raise TypeError(f"fit: mask must return a boolean tensor (batch, tokens); got {fact}")


def _bytes_on_disk(model: TokenizerModel, prior: nn.Module, *, best: bool) -> int:
    def weights(module: nn.Module) -> int:
        return sum(v.numel() * v.element_size() for v in module.state_dict().values())

    def checkpoint(module: nn.Module) -> int:
        trained = sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
        return (2 if best else 1) * weights(module) + MOMENTS * trained

    stages = CHECKPOINTS * checkpoint(model) + (CHECKPOINTS + 1) * checkpoint(prior)
    return stages + weights(model.tokenizer) + weights(prior)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what parts raise without a word of their own into a rule and a fact."""
    try:
        yield
    except (ValueError, TypeError, MemoryError, NotImplementedError):
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no word"]
        raise ValueError(
            f"fit: {what} must fit each other; a first try raised {type(error).__name__}: "
            f"{lines[0]}"
        ) from error


def _moved(batch: Any, device: torch.device) -> Any:
    """The batch on a device, tuples within it too."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, tuple):
        items = [_moved(item, device) for item in batch]
        return type(batch)(*items) if hasattr(batch, "_fields") else tuple(items)
    return batch
