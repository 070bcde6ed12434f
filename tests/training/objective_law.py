"""What every objective must do, asked through the public interface alone."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

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
    """Ask of an objective all that `Objective` says; an `AssertionError` names what it breaks.

    Args:
        build: Builds the objective for an encoder, such as `partial(BYOL, projector_dim=8)`.
        encoder: An encoder that the objective can train, which draws nothing in training.
        channels: Channels of its series.
        length: Samples of its series.
        cases: Series of a batch.
        padded: Whether series of several lengths are tried too, which the encoder must respect.
    """
    torch.manual_seed(0)
    objective = build(encoder)
    _is_an_objective(objective, encoder)
    batch = _batch(objective, encoder, channels, length, cases)
    _draws_by_the_generator_alone(objective, cases)
    _forward_reads(objective, encoder, batch)
    _gradients_reach_what_is_trained(objective, encoder, batch)
    _goes_on_from_its_state(build, objective, encoder, batch)
    _refuses_wrong_views(objective, encoder, batch)
    if padded:
        _reads_no_padding(objective, encoder, batch)


def _batch(
    objective: nn.Module, encoder: nn.Module, channels: int, length: int, cases: int
) -> ObjectiveBatch:
    dtype = next(encoder.parameters()).dtype
    generator = torch.Generator().manual_seed(1)
    shape = (cases, channels, length)
    assert isinstance(objective, Objective)
    views = tuple(
        torch.randn(shape, generator=generator, dtype=dtype) for _ in range(objective.views)
    )
    labels = torch.arange(cases) % 3 - 1
    draws = objective.draw(cases, generator)
    return ObjectiveBatch(views, labels=labels, draws=draws, seed=5)


def _is_an_objective(objective: nn.Module, encoder: nn.Module) -> None:
    assert isinstance(objective, nn.Module), "an objective is a module"
    assert isinstance(objective, Objective), "views, draw, forward and update are there"
    assert isinstance(objective.views, int), "views is a number"
    assert objective.views >= 1, "there is a view to learn from"
    own = {id(p) for p in objective.parameters()}
    assert not own & {id(p) for p in encoder.parameters()}, "the encoder is not a part of it"
    assert encoder not in set(objective.modules()), "the encoder is not a part of it"


def _draws_by_the_generator_alone(objective: nn.Module, cases: int) -> None:
    assert isinstance(objective, Objective)
    state = torch.get_rng_state()
    first, again = (objective.draw(cases, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state()), "draw leaves the global stream alone"
    assert isinstance(first, tuple), "draw returns a tuple"
    assert all(len(part) == cases for part in first), "a draw has a row for each series"
    assert all(map(torch.equal, first, again)), "one seed draws the same"


def _forward_reads(objective: nn.Module, encoder: nn.Module, batch: ObjectiveBatch) -> None:
    tensors = [*batch.views, *batch.draws, *([] if batch.labels is None else [batch.labels])]
    before = [part.clone() for part in tensors]
    state, random = _state(objective), torch.get_rng_state()
    output = objective(encoder, batch)
    assert isinstance(output, ObjectiveOutput), "forward returns an ObjectiveOutput"
    assert output.loss.shape == (), "the loss is a scalar"
    assert bool(output.loss.isfinite()), "the loss is finite"
    assert output.logged, "some term is logged"
    for name, term in output.logged.items():
        assert term.shape == (), f"the term {name} is a scalar"
        assert not term.requires_grad, f"the term {name} has no graph"
    assert not any(part.requires_grad for part in output.memory), "memory has no graph"
    assert all(map(torch.equal, before, tensors)), "inputs stay as they are"
    assert torch.equal(random, torch.get_rng_state()), "forward leaves the global stream alone"
    for name, value in _state(objective).items():
        assert torch.equal(value, state[name]), f"forward writes nothing; {name} moved"
    again = objective(encoder, batch)
    assert torch.equal(output.loss, again.loss), "one batch gives the same bits"
    assert all(map(torch.equal, output.memory, again.memory)), "one batch gives the same bits"


def _state(objective: nn.Module) -> dict[str, Tensor]:
    """The state without the running statistics of norms, the only ones that a forward moves."""
    running = ("running_", "num_batches_tracked")
    return {
        name: value.clone()
        for name, value in objective.state_dict().items()
        if not name.rsplit(".", 1)[-1].startswith(running) or ".model." in name
    }


def _gradients_reach_what_is_trained(
    objective: nn.Module, encoder: nn.Module, batch: ObjectiveBatch
) -> None:
    _clear(objective, encoder)
    objective(encoder, batch).loss.backward()
    grads = [p.grad for p in encoder.parameters() if p.grad is not None]
    assert grads, "a gradient reaches the encoder"
    assert all(bool(grad.isfinite().all()) for grad in grads), "gradients are finite"
    assert any(bool(grad.any()) for grad in grads), "the encoder's gradient is not zero"
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"a gradient reaches {name}"
        else:
            assert parameter.grad is None, f"no gradient reaches {name}"
    for name, part in objective.named_children():
        trained = [p.grad for p in part.parameters() if p.requires_grad]
        reached = [grad for grad in trained if grad is not None and bool(grad.any())]
        assert reached or not trained, f"the gradient of {name} is not zero"
    _clear(objective, encoder)


def _clear(*modules: nn.Module) -> None:
    for module in modules:
        module.zero_grad(set_to_none=True)


def _step(objective: nn.Module, encoder: nn.Module, batch: ObjectiveBatch) -> Tensor:
    """Take one step by hand, and update."""
    output: ObjectiveOutput = objective(encoder, batch)
    _clear(objective, encoder)
    output.loss.backward()
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *objective.parameters()]:
            if parameter.grad is not None:
                parameter.sub_(0.01 * parameter.grad)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    objective.update(encoder, output.memory)  # type: ignore[operator]
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), f"update leaves the encoder alone; {name} moved"
    return output.loss.detach()


def _goes_on_from_its_state(
    build: Build, objective: nn.Module, encoder: nn.Module, batch: ObjectiveBatch
) -> None:
    objective, encoder = copy.deepcopy((objective, encoder))
    _step(objective, encoder, batch)
    loaded = build(copy.deepcopy(encoder))
    loaded.load_state_dict(objective.state_dict())
    copied = copy.deepcopy(objective)
    losses = [
        torch.stack([_step(one, own, batch), _step(one, own, batch)])
        for one, own in [(one, copy.deepcopy(encoder)) for one in (objective, loaded, copied)]
    ]
    assert torch.equal(losses[0], losses[1]), "it goes on from its state_dict"
    assert torch.equal(losses[0], losses[2]), "a deep copy goes on alike"


def _refuses_wrong_views(objective: nn.Module, encoder: nn.Module, batch: ObjectiveBatch) -> None:
    for views in (batch.views[:-1], (*batch.views, batch.views[0])):
        name, message = type(objective).__name__, ""
        try:
            objective(encoder, batch._replace(views=views))
        except ValueError as error:
            message = str(error)
        assert message, f"{len(views)} views are refused"
        assert message.startswith(f"{name}: "), f"an error names {name}; got {message}"


def _reads_no_padding(objective: nn.Module, encoder: nn.Module, batch: ObjectiveBatch) -> None:
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
    assert bool(results[0][0].isfinite()), "the loss of padded series is finite"
    assert all(map(torch.equal, *results)), "what stands in the padding is not read"
    whole = objective(encoder, batch._replace(valid=torch.ones_like(valid))).loss
    plain = objective(encoder, batch).loss
    assert torch.allclose(whole, plain, rtol=1e-4), "valid of all samples changes nothing"
    assert not torch.allclose(results[0][0], plain, rtol=1e-4), "valid is read"
