"""What every objective promises, asked through the public interface alone."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import get_protocol_members

from ssltok.testing._asking import (
    ask,
    ask_members,
    ask_quiet,
    drawn_from,
    settled,
    state_of,
)  # fmt: skip
from ssltok.training import Objective, ObjectiveBatch, ObjectiveOutput

__all__ = ["check_objective"]

Build = Callable[[nn.Module], nn.Module]


def check_objective(
    build: Build,
    encoder: nn.Module,
    *,
    channels: int,
    length: int,
    cases: int = 8,
    padded: bool = True,
) -> None:
    """Ask of an objective all that `Objective` says.

    - It is a module with all members, and the encoder is no part of it.
    - `draw` draws by its generator alone, a row for each series.
    - `forward` reads: a finite scalar, terms and memory without a graph, inputs and state as they
      were (but for the running statistics of norms), nothing from the global stream, the same bits
      again.
    - A gradient reaches the encoder and each of its own trained parts.
    - After a step and an `update`, which leaves the encoder alone, it goes on alike from its
      state_dict and from a deep copy.
    - Another number of views is refused by a `ValueError` in its name.
    - What stands in the padding is not read; `valid` of all samples changes nothing.

    Args:
        build: Builds the objective for an encoder, such as `partial(BYOL, projector_dim=8)`.
        encoder: An encoder that the objective can train, which draws nothing in training.
        channels: Channels of its series.
        length: Samples of its series.
        cases: Series of a batch.
        padded: Whether series of several lengths are tried too, which the encoder must respect.

    Raises:
        AssertionError: With who, rule and fact, at the first broken promise.

    Example:
        >>> from functools import partial
        >>> from ssltok.nn import average_max_pool
        >>> from ssltok.pipelines import TokenFeatures, TokenizerConfig, build_tokenizer
        >>> from ssltok.testing import check_objective
        >>> from ssltok.training import BYOL
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> encoder = TokenFeatures(tokenizer, pool=average_max_pool)
        >>> check_objective(partial(BYOL, projector_dim=4), encoder, channels=1, length=32)
    """
    with drawn_from(0):
        objective: Any = build(encoder)
        _is_an_objective(objective, encoder)
        batch = _batch(objective, encoder, channels, length, cases)
        _draws_by_the_generator_alone(objective, cases)
        _forward_reads(objective, encoder, batch)
        _gradients_reach_what_is_trained(objective, encoder, batch)
        _goes_on_from_its_state(build, objective, encoder, batch)
        _refuses_wrong_views(objective, encoder, batch)
        if padded:
            _reads_no_padding(objective, encoder, batch)


def _is_an_objective(objective: Any, encoder: nn.Module) -> None:
    ask_members(objective, sorted(get_protocol_members(Objective)))
    for name, kind in (("views", int), ("by_token", bool)):
        value = getattr(objective, name)
        ask(type(value) is kind, objective, f"{name} must be {kind.__name__}", value)
    ask(objective.views >= 1, objective, "views must be >= 1", objective.views)
    shared = {id(p) for p in objective.parameters()} & {id(p) for p in encoder.parameters()}
    part = encoder in set(objective.modules()) or bool(shared)
    ask(not part, objective, "the encoder must be no part of it", "a part")


def _batch(
    objective: Any, encoder: nn.Module, channels: int, length: int, cases: int
) -> ObjectiveBatch:
    dtype = next(encoder.parameters()).dtype
    generator = torch.Generator().manual_seed(1)
    shape = (cases, channels, length)
    views = tuple(
        torch.randn(shape, generator=generator, dtype=dtype) for _ in range(objective.views)
    )
    labels = torch.arange(cases) % 3 - 1
    draws = objective.draw(cases, generator)
    return ObjectiveBatch(views, labels=labels, draws=draws, seed=5)


def _draws_by_the_generator_alone(objective: Any, cases: int) -> None:
    with ask_quiet(objective, "draw"):
        first, again = (objective.draw(cases, torch.Generator().manual_seed(7)) for _ in range(2))
    ask(isinstance(first, tuple), objective, "draw must return a tuple", type(first).__name__)
    rows = [len(part) for part in first]
    ask(all(n == cases for n in rows), objective, f"a draw must have {cases} rows", rows)
    same = all(map(torch.equal, first, again))
    ask(same, objective, "draw must draw the same of equal seeds", "others")


def _forward_reads(objective: Any, encoder: nn.Module, batch: ObjectiveBatch) -> None:
    tensors = [*batch.views, *batch.draws, *([] if batch.labels is None else [batch.labels])]
    before = [part.clone() for part in tensors]
    state = _settled(objective)
    with ask_quiet(objective, "forward"):
        output = objective(encoder, batch)
        again = objective(encoder, batch)
    ask(isinstance(output, ObjectiveOutput), objective, "forward must return ObjectiveOutput",
        type(output).__name__)  # fmt: skip
    ask(output.loss.shape == (), objective, "the loss must be a scalar", output.loss.shape)
    ask(bool(output.loss.isfinite()), objective, "the loss must be finite", output.loss)
    ask(bool(output.logged), objective, "some term must be logged", "none")
    for name, term in output.logged.items():
        ask(term.shape == (), objective, f"the term {name} must be a scalar", term.shape)
        ask(not term.requires_grad, objective, f"the term {name} must have no graph", "one")
    graph = any(part.requires_grad for part in output.memory)
    ask(not graph, objective, "memory must have no graph", "one")
    ask(all(map(torch.equal, before, tensors)), objective, "inputs must stay as they are", "others")
    for name, value in _settled(objective).items():
        same = torch.equal(value, state[name])
        ask(same, objective, "forward must read, not write", f"another {name}")
    same = torch.equal(output.loss, again.loss) and all(
        map(torch.equal, output.memory, again.memory)
    )
    ask(same, objective, "one batch must give the same bits", "others")


def _settled(objective: nn.Module) -> dict[str, Tensor]:
    """The state without the running statistics of norms, but with those of a teacher's."""
    state = state_of(objective)
    teachers = {name: value for name, value in state.items() if ".model." in name}
    return settled(state) | teachers


def _gradients_reach_what_is_trained(
    objective: Any, encoder: nn.Module, batch: ObjectiveBatch
) -> None:
    _clear(objective, encoder)
    objective(encoder, batch).loss.backward()
    grads = [p.grad for p in encoder.parameters() if p.grad is not None]
    ask(bool(grads), objective, "a gradient must reach the encoder", "none")
    finite = all(bool(grad.isfinite().all()) for grad in grads)
    ask(finite, objective, "gradients must be finite", "NaN or inf")
    moved = any(bool(grad.any()) for grad in grads)
    ask(moved, objective, "the encoder's gradient must not be 0", 0)
    for name, parameter in objective.named_parameters():
        reached = parameter.grad is not None
        rule = "a gradient must reach" if parameter.requires_grad else "no gradient must reach"
        ask(reached is parameter.requires_grad, objective, f"{rule} {name}", reached)
    for name, part in objective.named_children():
        trained = [p.grad for p in part.parameters() if p.requires_grad]
        some = [grad for grad in trained if grad is not None and bool(grad.any())]
        ask(bool(some) or not trained, objective, f"the gradient of {name} must not be 0", 0)
    _clear(objective, encoder)


def _clear(*modules: nn.Module) -> None:
    for module in modules:
        module.zero_grad(set_to_none=True)


def _step(objective: Any, encoder: nn.Module, batch: ObjectiveBatch) -> Tensor:
    """Take one step by hand, and update."""
    output: ObjectiveOutput = objective(encoder, batch)
    _clear(objective, encoder)
    output.loss.backward()
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *objective.parameters()]:
            if parameter.grad is not None:
                parameter.sub_(0.01 * parameter.grad)
    before = state_of(encoder)
    objective.update(encoder, output.memory)
    for name, value in encoder.state_dict().items():
        same = torch.equal(value, before[name])
        ask(same, objective, "update must leave the encoder alone", f"another {name}")
    return output.loss.detach()


def _goes_on_from_its_state(
    build: Build, objective: Any, encoder: nn.Module, batch: ObjectiveBatch
) -> None:
    objective, encoder = copy.deepcopy((objective, encoder))
    _step(objective, encoder, batch)
    loaded = build(copy.deepcopy(encoder))
    loaded.load_state_dict(objective.state_dict())
    copied = copy.deepcopy(objective)
    losses = []
    for one in (objective, loaded, copied):
        alone = copy.deepcopy(encoder)
        losses.append(torch.stack([_step(one, alone, batch), _step(one, alone, batch)]))
    ask(torch.equal(losses[0], losses[1]), objective, "it must go on from its state_dict",
        "other losses")  # fmt: skip
    ask(torch.equal(losses[0], losses[2]), objective, "a deep copy must go on alike",
        "other losses")  # fmt: skip


def _refuses_wrong_views(objective: Any, encoder: nn.Module, batch: ObjectiveBatch) -> None:
    for views in (batch.views[:-1], (*batch.views, batch.views[0])):
        name, message = type(objective).__name__, ""
        try:
            objective(encoder, batch._replace(views=views))
        except ValueError as error:
            message = str(error)
        rule = f"{len(views)} views must be refused by a ValueError that begins with {name}:"
        ask(message.startswith(f"{name}: "), objective, rule, message or "none")


def _reads_no_padding(objective: Any, encoder: nn.Module, batch: ObjectiveBatch) -> None:
    cases, _, length = batch.views[0].shape
    ends = length - torch.arange(cases) * length // (2 * cases)
    valid = torch.arange(length) < ends[:, None]
    results = []
    for noise in (0.0, 100.0):
        views = tuple(torch.where(valid[:, None], view, noise) for view in batch.views)
        _clear(objective, encoder)
        output: ObjectiveOutput = copy.deepcopy(objective)(
            encoder, batch._replace(views=views, valid=valid)
        )
        output.loss.backward()
        grads = [p.grad for p in encoder.parameters() if p.grad is not None]
        results.append([output.loss.detach(), *output.memory, *grads])
    _clear(objective, encoder)
    finite = bool(results[0][0].isfinite())
    ask(finite, objective, "the loss of padded series must be finite", results[0][0])
    same = all(map(torch.equal, *results))
    ask(same, objective, "padding must not be read", "another loss, memory or gradient")
    whole = objective(encoder, batch._replace(valid=torch.ones_like(valid))).loss
    plain = objective(encoder, batch).loss
    same = torch.allclose(whole, plain, rtol=1e-4)
    ask(same, objective, "valid of all samples must change nothing", f"{whole}, not {plain}")
    same = torch.allclose(results[0][0], plain, rtol=1e-4)
    ask(not same, objective, "valid must be read", "the loss without it")
