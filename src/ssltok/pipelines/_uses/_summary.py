"""What a trained model is, in a dozen lines for somebody who has it before them."""

import textwrap

from torch import nn

from ssltok.pipelines._branch import Branch
from ssltok.pipelines._folders._artifact import Artifact
from ssltok.training import TrainingConfig

__all__ = ["summary_of"]

MOST_CLASSES = 8
LABEL, WIDTH = 14, 100


def summary_of(model: Artifact) -> str:
    """Write a line for each question: a word in front, what it is behind.

    Args:
        model: A trained model.

    Returns:
        Lines of at most 100 characters.
    """
    tokenizer, prior = model.tokenizer, model.prior
    branches = tokenizer.parts
    weights = f"tokenizer {_size(tokenizer):,}, prior {_size(prior):,}"
    lines = [
        ("trained on", _data(model)),
        ("tokens", _tokens(model)),
        ("codes", _codes(model)),
        ("transform", type(tokenizer.transform).__name__),
        *((_numbered(place, len(branches)), _branch(part)) for place, part in enumerate(branches)),
        ("parameters", f"{_size(tokenizer) + _size(prior):,}: {weights}"),
        ("training", _training(model)),
        ("made by", _origin(model)),
    ]
    text = ["SSLTokenizer"]
    for word, line in lines:
        text += textwrap.wrap(
            line, WIDTH, initial_indent=word.ljust(LABEL), subsequent_indent=" " * LABEL,
            break_on_hyphens=False,
        )  # fmt: skip
    return "\n".join(text)


def _data(model: Artifact) -> str:
    lengths, channels = model.lengths, model.tokenizer.channels
    low, high = int(lengths.min()), int(lengths.max())
    samples = f"{high} samples" if low == high else f"{low} to {high} samples"
    line = f"{len(lengths):,} series, {_many(channels, 'channel')}, {samples}"
    if not model.classes:
        return f"{line}; no labels"
    counts = [int((model.labels == number).sum()) for number in range(len(model.classes))]
    named = [f"{c} ({n})" for c, n in zip(model.classes, counts, strict=True)][:MOST_CLASSES]
    if len(model.classes) > MOST_CLASSES:
        named.append(f"... {len(model.classes)} in all")
    unlabelled = int((model.labels < 0).sum())
    more = f"; {unlabelled} without a label" if unlabelled else ""
    return f"{line}; classes: {', '.join(named)}{more}"


def _tokens(model: Artifact) -> str:
    tokenizer = model.tokenizer
    grids = " + ".join(" x ".join(map(str, grid)) for grid in tokenizer.grids)
    axes = ["channels", "freq", "frames"][not tokenizer.channelwise :]
    if len(tokenizer.grids[0]) < len(axes):
        axes.remove("freq")
    values = tokenizer.channels * tokenizer.length
    return f"{sum(tokenizer.sizes):,} for {values:,} values: {grids} ({' x '.join(axes)})"


def _codes(model: Artifact) -> str:
    sizes = [" x ".join(map(str, branch)) for branch in model.tokenizer.codebook_sizes]
    each = model.tokenizer.codes_per_token
    return f"{_many(each, 'code')} a token, codebook of {' + '.join(sizes)}"


def _numbered(place: int, branches: int) -> str:
    return "branch" if branches == 1 else f"branch {place + 1}"


def _branch(branch: Branch) -> str:
    parts = (branch.encoder, branch.quantizer, branch.decoder)
    return ", ".join(type(part).__name__ + _weight(part) for part in parts)


def _training(model: Artifact) -> str:
    config = model.config
    stages = ("tokenizer", config.tokenizer_training), ("prior", config.prior_training)
    return "; ".join(f"{name} {_steps(stage)}" for name, stage in stages)


def _steps(stage: TrainingConfig) -> str:
    length = f"{stage.steps:,} steps" if stage.steps else f"{stage.epochs:,} epochs"
    early = "at most " if stage.patience else ""
    return f"{early}{length} of {stage.batch} series, learning rate {stage.learning_rate:g}"


def _origin(model: Artifact) -> str:
    origin = model.provenance
    return ", ".join(f"{key} {origin[key]}" for key in ("ssltok", "torch", "seed") if key in origin)


def _size(part: nn.Module) -> int:
    return sum(weight.numel() for weight in part.parameters())


def _weight(part: nn.Module) -> str:
    """Nothing where nothing is trained by gradient, such as a codebook of moving means."""
    return f" ({_size(part):,})" if _size(part) else ""


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
