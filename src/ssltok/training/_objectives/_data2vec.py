"""data2vec as an objective: say what a slow teacher, which sees all, makes of hidden places."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.losses import latent_regression_loss, topk_layer_target
from ssltok.masking import span_mask
from ssltok.state import EMATeacher
from ssltok.training._objectives._documented import documented
from ssltok.training._objectives._hidden import (
    Sampler,
    check_draws,
    draw_mask,
    encode,
    masked_tokens,
    places_of,
)
from ssltok.training._objectives._parts import head_width
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import check_views, logged, whole_batch_mean

__all__ = ["Data2Vec"]

SPANS = partial(span_mask, ratio=0.5, length=2)

Layers = Callable[[nn.Module, Tensor, Tensor | None], Sequence[Tensor]]


@documented
class Data2Vec(PlainObjective):
    """Hide places behind the encoder's mask token, and predict a teacher's layers there.

    The target is `topk_layer_target` of a slow teacher that sees everything, in evaluation mode;
    `latent_regression_loss` of the hidden places follows it. `update` moves the teacher.

    Args:
        encoder: Gives the number of features and of places; see `Objective` for what it must be.
        sampler: Draws masks, `sampler((cases, frames), generator=generator, device=device)`,
            boolean of that shape, True where hidden: such as a function of `ssltok.masking` with
            its options bound. The paper hides spans of 10, half of a series in all; spans of 2 by
            default, for series of some 16 places.
        top: How many of the teacher's last layers are averaged; 8 of 12 in the paper. None takes
            all.
        layers: From the teacher, series and `valid`, or None, to the layers, first layer first,
            `(batch, tokens, dim)` each. By default `encoder.hidden_states(series).mlp`, as of
            `ViT1d`, with `valid=` where it is given. An encoder without these may give its result
            alone: `lambda encoder, series, valid: [encoder(series)]`.
        beta: Where the error turns from quadratic to linear; None is the squared error.
        predictor: A module of your own, from `(rows, dim)` to `(rows, dim)`, instead of the
            paper's linear layer.
        momentum: Share of the teacher that an update keeps, in [0, 1]; 0.999 at the paper's start.
            The attribute of that name may be set before each update, to follow a schedule.

    Example:
        >>> import torch
        >>> from ssltok.nn import PatchEmbed1d, Transformer, ViT1d
        >>> from ssltok.training import Data2Vec, ObjectiveBatch
        >>> class Patches(torch.nn.Module):
        ...     dim, frames, rows = 8, 5, 1
        ...     def __init__(self):
        ...         super().__init__()
        ...         embedding, trunk = PatchEmbed1d(2, 8, patch=4), Transformer(8, depth=2, heads=2)
        ...         self.vit = ViT1d(embedding, trunk, class_token=False, mask_token=True)
        ...     def forward(self, series, valid=None, *, masked=None, visible=None):
        ...         return self.vit(series, valid=valid, masked=masked, visible=visible)
        ...     def hidden_states(self, series, valid=None):
        ...         return self.vit.hidden_states(series, valid=valid)
        >>> encoder = Patches()
        >>> objective = Data2Vec(encoder)
        >>> draws = objective.draw(6, torch.Generator().manual_seed(0))
        >>> batch = ObjectiveBatch((torch.randn(6, 2, 20),), draws=draws)
        >>> objective(encoder, batch).loss.shape
        torch.Size([])

    References:
        Baevski et al., *data2vec*, 2022, <https://arxiv.org/abs/2202.03555>, section 3.
    """

    views = 1

    by_token = True

    def __init__(
        self,
        encoder: nn.Module,
        *,
        sampler: Sampler = SPANS,
        top: int | None = None,
        layers: Layers | None = None,
        beta: float | None = 1.0,
        predictor: nn.Module | None = None,
        momentum: float = 0.999,
    ) -> None:
        super().__init__()
        dim, self.frames, self.rows = places_of("Data2Vec", encoder, "masked")
        check_ratio("Data2Vec", "momentum", momentum)
        if top is not None:
            check_at_least("Data2Vec", "top", top, 1)
        if beta is not None:
            check_at_least("Data2Vec", "beta", beta, 0)
        if layers is None and not callable(getattr(encoder, "hidden_states", None)):
            raise TypeError(
                "Data2Vec: the encoder must have hidden_states, or layers must say what to "
                f"predict; got {type(encoder).__name__} without it"
            )
        self.predictor = head_width("Data2Vec", predictor, dim, dim)
        self.sampler, self.top, self.layers, self.beta = sampler, top, layers, beta
        self.momentum = momentum
        self.teacher = EMATeacher(encoder)

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw which places are hidden, boolean `(cases, frames)`."""
        return (draw_mask("Data2Vec", self.sampler, (cases, self.frames), generator),)

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of one view with the draws."""
        batch = batch._replace(features=None)
        check_views("Data2Vec", batch, self.views)
        check_draws("Data2Vec", batch, 1)
        (series,), valid, (mask,) = batch.views, batch.valid, batch.draws
        counted, real = masked_tokens(
            "Data2Vec", encoder, mask, valid, frames=self.frames, rows=self.rows
        )
        with torch.no_grad():
            layers = (self.layers or mlp_layers)(self.teacher.model, series, valid)
            top = len(layers) if self.top is None else self.top
            target = topk_layer_target(layers, real, top=top)
        tokens = encode("Data2Vec", encoder, series, valid, tokens=counted.shape[1], masked=mask)
        pred = self.predictor(tokens.flatten(0, 1)).view_as(tokens)
        local = latent_regression_loss(pred, target, counted, beta=self.beta)
        loss = whole_batch_mean(local, counted.sum())
        return ObjectiveOutput(loss, logged(regression=loss))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Move the teacher."""
        self.teacher.update(encoder, momentum=self.momentum)


def mlp_layers(encoder: nn.Module, series: Tensor, valid: Tensor | None) -> Sequence[Tensor]:
    """Return what the MLP of each layer adds."""
    options = {} if valid is None else {"valid": valid}
    layers: Sequence[Tensor] = encoder.hidden_states(series, **options).mlp  # type: ignore[operator]
    return layers
