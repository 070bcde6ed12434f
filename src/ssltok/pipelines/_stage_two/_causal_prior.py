"""A prior that reads tokens in the order of time: all that stand before, and nothing behind."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssltok.nn import CausalTokenTransformer
from ssltok.pipelines._prior import ConditionedPrior, Prior
from ssltok.pipelines._stage_two._conditions import Conditions

__all__ = ["REFUSAL", "CausalPrior", "conditions_of"]


class CausalPrior(Prior):
    r"""One causal transformer over the codes of all branches, in the order of time.

    $$p(s) = \prod_i p(s_{o_i} \mid s_{o_1}, \dots, s_{o_{i-1}}, \text{label, conditions})$$

    where $o$ is the order of the places. Each codebook has numbers of its own in the transformer's
    vocabulary, one codebook after the other; a place's other numbers have no probability. It can
    draw, and continue what is known, but guesses nothing that stands before something known.

    Args:
        model: Such as a `CausalTokenTransformer`, of as many tokens as there are places, and of
            all codebooks together.
        sizes: Tokens of each branch.
        classes: Number of labels; 0 for none.
        codebook_sizes: Of each branch, coarse first; as many for each branch.
        order: The places in the order in which they are read: `token * codes + code`, where tokens
            count through all branches.
        limits: As in `Prior`.
        embeddings: What it is told of conditions, as in `ConditionedPrior`; None for nothing.

    Attributes:
        conditions: Covariates and known channels that it is told.

    Raises:
        ValueError: If sizes, codebooks, order and model do not fit each other.

    Example:
        >>> from ssltok.pipelines import PriorConfig, TokenizerConfig, build_prior, build_tokenizer
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3, n_fft=2, hop=2, widths=(4,))
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> words = PriorConfig(dim=8, depth=1, architecture="causal")
        >>> prior = build_prior(words, tokenizer, classes=2)
        >>> tokenizer.grids, prior.order  # both frequencies of a time before the next time
        (((2, 4),), [0, 4, 1, 5, 2, 6, 3, 7])

    References:
        van den Oord et al., *Neural discrete representation learning*, 2017,
        <https://arxiv.org/abs/1711.00937>, section 3.3.
        Copet et al., *MusicGen*, 2023, <https://arxiv.org/abs/2306.05284>, section 2.2 (several
        codes a token, flattened).
    """

    def __init__(
        self,
        model: CausalTokenTransformer,
        *,
        sizes: Sequence[int],
        classes: int,
        codebook_sizes: Sequence[Sequence[int]],
        order: Sequence[int],
        limits: Sequence[list[int] | None] | None = None,
        embeddings: Sequence[nn.Module] | None = None,
    ) -> None:
        nn.Module.__init__(self)  # one model of all branches, where a Prior has one for each
        self._set_sizes("CausalPrior", sizes, classes, codebook_sizes, limits)
        self.model, self.order = model, list(order)
        places = sum(self.sizes) * self.codes_per_token
        if sorted(self.order) != list(range(places)):
            raise ValueError(
                f"CausalPrior: order must hold each of {places} places once; got {len(self.order)} "
                f"from {min(self.order, default=0)} to {max(self.order, default=0)}"
            )
        codes = sum(map(sum, self.codebook_sizes))
        if (model.tokens, model.codebook_size, model.classes) != (places, codes, classes):
            raise ValueError(
                f"CausalPrior: model must be of {places} tokens, {codes} codes and {classes} "
                f"classes; got {model.tokens}, {model.codebook_size} and {model.classes}"
            )
        self.embeddings = None if embeddings is None else nn.ModuleList(embeddings)
        if embeddings is not None and len(embeddings) != len(self.sizes):
            raise ValueError(
                f"CausalPrior: embeddings must be as many as sizes; "
                f"got {len(embeddings)} and {len(self.sizes)}"
            )

    @property
    def conditions(self) -> tuple[int, int]:
        """Covariates and known channels that it is told of a series."""
        if self.embeddings is None:
            return 0, 0
        first: Any = self.embeddings[0]
        return int(first.features), int(first.channels)

    def context(self, codes: Tensor, number: int = 1) -> Tensor:
        """Refuse: no branch reads another's tokens beside its own.

        Raises:
            ValueError: Always.
        """
        raise ValueError(REFUSAL)

    def logits_of(self, number: int, labels: Tensor, context: Any, **options: Any) -> Any:
        """Refuse: hidden tokens are guessed by a `Prior`.

        Raises:
            ValueError: Always.
        """
        raise ValueError(REFUSAL)

    def context_of(self, conditions: Conditions | None) -> Tensor | None:
        """What the model is told of each place, `(batch, places, dim)`.

        Raises:
            ValueError: If conditions are missing, or given to a prior that knows none.
        """
        if (self.embeddings is None) != (conditions is None):
            raise ValueError(
                f"CausalPrior: conditions must be given where it has embeddings, and there alone; "
                f"got {'none' if conditions is None else 'some'}"
            )
        if self.embeddings is None or conditions is None:
            return None
        covariates, channels, known = conditions
        parts = [part(covariates, channels, known=known) for part in self.embeddings]
        tokens = torch.tensor(self.order) // self.codes_per_token
        return torch.cat(parts, dim=1)[:, tokens]

    def ranges(self) -> Tensor:
        """The first number of each place's codebook, and how many it has, `(2, places)`."""
        rows, first = [], 0
        for size, books, limits in zip(self.sizes, self.codebook_sizes, self.limits, strict=True):
            most = torch.tensor(limits or [max(books)] * size)[:, None]
            starts = torch.tensor(books).cumsum(0) - torch.tensor(books) + first
            counts = torch.minimum(most, torch.tensor(books))
            rows.append(torch.stack([starts.expand_as(counts), counts]).flatten(1))
            first += sum(books)
        return torch.cat(rows, dim=1)[:, self.order]

    def in_order(self, codes: Tensor) -> Tensor:
        """Codes `(batch, tokens)` or `(batch, tokens, codes)` as `(batch, places)`."""
        return codes.flatten(1)[:, self.order]

    def numbered(self, rows: Tensor) -> Tensor:
        """Codes `(batch, places)` by their numbers in the model's vocabulary; -1 is [MASK]."""
        starts, _ = self.ranges().to(rows.device)
        return torch.where(rows >= 0, rows + starts, self.model.codebook_size)


REFUSAL = (
    "CausalPrior: hidden tokens must stand behind all known ones, in the order of time; "
    "got others, which a masked prior guesses"
)


def conditions_of(prior: nn.Module) -> tuple[int, int]:
    """Covariates and known channels that a prior is told of a series."""
    return prior.conditions if isinstance(prior, ConditionedPrior | CausalPrior) else (0, 0)
