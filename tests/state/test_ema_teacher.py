"""The EMA teacher: against the update written out, its mode, its buffers, its state."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ssltok.state import EMATeacher, average_buffers, copy_buffers, keep_buffers
from tests.ranks import Ranks


def network(seed: int = 0, *, dropout: float = 0.0) -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Dropout(dropout), nn.Conv1d(3, 2, 1)
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model


def series(seed: int = 0) -> Tensor:
    return torch.randn(4, 2, 9, generator=torch.Generator().manual_seed(seed)).double() + 1


# oracle


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.996, 1.0])
def test_follows_the_published_update(momentum: float) -> None:
    student = network()
    teacher = EMATeacher(student)
    want = [p.detach().clone() for p in student.parameters()]
    for seed in (1, 2, 3):
        student = network(seed)
        teacher.update(student, momentum=momentum)
        want = [
            momentum * w + (1 - momentum) * p.detach()
            for w, p in zip(want, student.parameters(), strict=True)
        ]
    for p, w in zip(teacher.model.parameters(), want, strict=True):
        torch.testing.assert_close(p.detach(), w, rtol=1e-13, atol=1e-13)


# known values


def test_begins_as_an_independent_copy() -> None:
    student = network()
    teacher = EMATeacher(student)
    for mine, theirs in zip(teacher.model.parameters(), student.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.data_ptr() != theirs.data_ptr()
        assert not mine.requires_grad
        assert theirs.requires_grad


def test_a_moving_target_is_approached_geometrically() -> None:
    student = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(student.weight)
    teacher = EMATeacher(student)
    nn.init.ones_(student.weight)
    for _ in range(5):
        teacher.update(student, momentum=0.5)
    assert float(teacher.model.weight.detach()) == 1 - 0.5**5  # type: ignore[operator]


def test_buffer_rules() -> None:
    student = network()
    teachers = {
        rule: EMATeacher(student, buffer_rule=rule)
        for rule in (copy_buffers, average_buffers, keep_buffers)
    }
    student.train()
    student(series())
    mean = student[1].running_mean
    assert isinstance(mean, Tensor)
    for teacher in teachers.values():
        teacher.update(student, momentum=0.75)
    got = {rule: dict(teacher.model.named_buffers()) for rule, teacher in teachers.items()}
    torch.testing.assert_close(got[copy_buffers]["1.running_mean"], mean)
    torch.testing.assert_close(got[average_buffers]["1.running_mean"], 0.25 * mean)
    torch.testing.assert_close(got[keep_buffers]["1.running_mean"], torch.zeros(3).double())
    variance = student[1].running_var
    assert isinstance(variance, Tensor)
    torch.testing.assert_close(got[average_buffers]["1.running_var"], 0.75 + 0.25 * variance)
    counts = [int(got[rule]["1.num_batches_tracked"]) for rule in teachers]
    assert counts == [1, 1, 0]


# laws


@pytest.mark.parametrize("training", [False, True])
def test_its_mode_is_its_own(training: bool) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student = network()
            self.teacher = EMATeacher(self.student, training=training)

    holder = Holder()
    for mode in (True, False, True):
        holder.train(mode)
        holder.teacher.train(not training)
        holder.teacher.eval()
        assert holder.student.training is mode
        assert {module.training for module in holder.teacher.modules()} == {training}


def test_training_mode_uses_the_statistics_of_the_batch_and_writes_none() -> None:
    student = network()
    x = series()
    teacher = EMATeacher(student, training=True)
    before = copy.deepcopy(teacher.state_dict())
    got = teacher(x)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    student.train()
    torch.testing.assert_close(got, student(x).detach())
    evaluating = EMATeacher(network())(x)
    assert not torch.allclose(got, evaluating)


def test_evaluation_mode_uses_the_buffers() -> None:
    student = network()
    student.train()
    student(series(1))
    teacher = EMATeacher(student)
    student.eval()
    torch.testing.assert_close(teacher(series()), student(series()).detach())


def test_dropout_is_on_only_in_training_mode() -> None:
    x = series()
    loud = EMATeacher(network(dropout=0.5), training=True)
    still = EMATeacher(network(dropout=0.5))
    assert not torch.equal(loud(x), loud(x))
    assert torch.equal(still(x), still(x))


def test_no_gradient_passes() -> None:
    x = series().requires_grad_()
    assert not EMATeacher(network())(x).requires_grad
    assert not EMATeacher(network(), training=True)(x).requires_grad


def test_round_trip_of_its_state() -> None:
    student = network()
    teacher = EMATeacher(student, buffer_rule=average_buffers)
    teacher.update(network(7), momentum=0.5)
    other = EMATeacher(network(3))
    other.load_state_dict(teacher.state_dict())
    assert torch.equal(other(series()), teacher(series()))


def test_the_student_is_read_only_and_may_be_of_another_precision() -> None:
    student = network()
    teacher = EMATeacher(student).float()
    before = copy.deepcopy(student.state_dict())
    teacher.update(student, momentum=0.5)
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())
    assert {p.dtype for p in teacher.model.parameters()} == {torch.float32}


def test_compiles_whole() -> None:
    teacher = EMATeacher(network(), training=True)
    compiled = torch.compile(teacher, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(series()), teacher(series()))


# distribution


def trained_on(seed: int) -> list[Tensor]:
    """Train one step under DDP on this rank's own series; the teachers must agree."""
    student = network()
    teacher = EMATeacher(student)
    wrapped = nn.parallel.DistributedDataParallel(student)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    for step in range(2):
        wrapped(series(seed + 10 * step)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        teacher.update(wrapped, momentum=0.9)
    return [p.detach().clone() for p in teacher.model.parameters()]


def test_teachers_of_all_ranks_are_equal(two_ranks: Ranks) -> None:
    first, second = two_ranks.run(trained_on, (1,), (2,))
    start = list(network().parameters())
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[0], start[0].detach())


# students as they come


class Shifted(nn.Module):
    """A student whose forward takes options, as a transformer's does."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x: Tensor, *, shift: float = 0.0) -> Tensor:
        normed: Tensor = self.norm(x)
        return normed + shift


@pytest.mark.parametrize("training", [False, True])
def test_keyword_arguments_reach_the_model(training: bool) -> None:
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    teacher = EMATeacher(Shifted(), training=training)
    torch.testing.assert_close(teacher(x, shift=2.0), teacher(x) + 2)
    torch.testing.assert_close(teacher(x=x, shift=2.0), teacher(x) + 2)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_what_a_copy_cannot_follow_is_named() -> None:
    said = r"^EMATeacher: student must not hold computed tensors: .*; got "
    old = nn.Sequential(nn.utils.weight_norm(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=said + "0.weight$"):
        EMATeacher(old)
    caching = nn.Linear(2, 2)
    caching.last = caching(torch.ones(1, 2))
    with pytest.raises(ValueError, match=said + "last$"):
        EMATeacher(caching)
    caching.last = [caching.last]  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"^EMATeacher: student must have a deep copy; got "):
        EMATeacher(caching)
    caching.last = caching.last[0].detach()  # type: ignore[index]
    EMATeacher(caching).update(caching)
    new = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    teacher = EMATeacher(new)
    with torch.no_grad():
        new.parametrizations.weight.original0.mul_(2)
    teacher.update(new, momentum=0.0)
    assert torch.equal(teacher(torch.ones(1, 2)), new(torch.ones(1, 2)))


def test_a_lazy_student_is_named_until_it_has_its_shapes() -> None:
    lazy = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    with pytest.raises(
        ValueError, match=r"^EMATeacher: student must have .*; got the lazy 0\.weight$"
    ):
        EMATeacher(lazy)
    lazy(torch.ones(2, 4))
    EMATeacher(lazy).update(lazy)


# complaints


def test_refuses() -> None:
    teacher = EMATeacher(network())
    with pytest.raises(ValueError, match=r"^EMATeacher: momentum must lie in \[0, 1\]; got 1.1$"):
        teacher.update(network(), momentum=1.1)
    with pytest.raises(ValueError, match=r"student's parameters must match .* 6 in number"):
        teacher.update(nn.Linear(2, 2))
    same = nn.Sequential(*list(network())[:2], *list(network())[3:])
    same[1].register_buffer("more", torch.zeros(1))
    with pytest.raises(ValueError, match=r"student's buffers must match the teacher's, 3 in numb"):
        teacher.update(same)
    with pytest.raises(TypeError, match=r"^EMATeacher: student must be a module; got dict$"):
        EMATeacher({})  # type: ignore[arg-type]
