"""What `Alignment` promises beside the law of all objectives: its teacher, its parts, its aim."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ssltok.losses import cka_loss, gram_anchoring_loss, repa_loss, vf_loss
from ssltok.nn import PatchEmbed1d
from ssltok.training import Alignment, ObjectiveBatch
from tests.training.objective_cases import CHANNELS, DIM, LENGTH, PATCH, Series, Tokens, moments


class Teacher(nn.Module):
    """With dropout and a norm, whose modes would show."""

    dim = 5

    def __init__(self) -> None:
        super().__init__()
        self.embed = PatchEmbed1d(CHANNELS, 5, patch=PATCH)
        self.last = nn.Sequential(nn.LayerNorm(5), nn.Dropout(0.5))

    def forward(self, series: Tensor, valid: Tensor | None = None) -> Tensor:
        out: Tensor = self.last(self.embed(series, valid=valid))
        return out


def batch_of(cases: int = 6) -> ObjectiveBatch:
    generator = torch.Generator().manual_seed(0)
    return ObjectiveBatch((torch.randn(cases, CHANNELS, LENGTH, generator=generator),))


def test_the_teacher_is_a_frozen_copy_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    encoder, teacher = Tokens(), Teacher()
    objective = Alignment(encoder, teacher=teacher).train()
    assert teacher.training
    assert all(p.requires_grad for p in teacher.parameters())
    assert isinstance(objective.teacher, Teacher)
    assert objective.teacher is not teacher
    assert not any(part.training for part in objective.teacher.modules())
    assert not any(p.requires_grad for p in objective.teacher.parameters())
    batch, state = batch_of(), copy.deepcopy(objective.teacher.state_dict())
    first = objective(encoder, batch).loss
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(1)
    assert torch.equal(objective(encoder, batch).loss, first)
    objective.update(encoder, ())
    assert all(torch.equal(v, state[k]) for k, v in objective.teacher.state_dict().items())


def test_it_is_the_loss_of_projections_and_of_the_teacher() -> None:
    torch.manual_seed(0)
    encoder, teacher = Tokens(), Teacher().eval()
    batch = batch_of()
    valid = torch.arange(LENGTH) < torch.tensor([24, 20, 8, 24, 16, 4])[:, None]
    objective = Alignment(encoder, teacher=teacher)
    tokens = encoder(batch.views[0], valid=valid)
    expected = vf_loss(
        objective.projector(tokens), teacher(batch.views[0], valid=valid),
        encoder.token_valid(valid),
    )  # fmt: skip
    output = objective(encoder, batch._replace(valid=valid))
    torch.testing.assert_close(output.loss, expected)
    assert output.logged["alignment"] == output.loss


@pytest.mark.parametrize("loss", [vf_loss, repa_loss, gram_anchoring_loss, cka_loss])
def test_it_is_learned(loss: object) -> None:
    torch.manual_seed(0)
    encoder, teacher = Tokens(), Teacher()
    objective = Alignment(encoder, teacher=teacher, loss=loss)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam([*encoder.parameters(), *objective.projector.parameters()], 0.02)
    values = []
    for _ in range(60):
        output = objective(encoder, batch_of(16))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        values.append(output.loss.item())
    floor = -1.0 if loss is repa_loss else 0.0
    assert values[-1] - floor < 0.5 * (values[0] - floor)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TypeError, match=r"^Alignment: teacher_dim must be an integer, .*got None"):
        Alignment(Tokens(), teacher=moments)
    with pytest.raises(TypeError, match=r"^Alignment: teacher_dim must be an integer, .*got 2.5"):
        Alignment(Tokens(), teacher=moments, teacher_dim=2.5)  # type: ignore[arg-type]
    other = Alignment(Tokens(), teacher=moments, teacher_dim=2 * CHANNELS)
    said = r"^Alignment: teacher must have a feature for each of the encoder's tokens, \(6, 6\)"
    with pytest.raises(ValueError, match=said):
        other(Tokens(), batch_of())
    coarse = Alignment(Tokens(), teacher=PatchEmbed1d(CHANNELS, DIM, patch=8), teacher_dim=DIM)
    with pytest.raises(ValueError, match=said):
        coarse(Tokens(), batch_of())
    with pytest.raises(ValueError, match=r"encoder's tokens, \(6,\); got \(6, 6, 5\)"):
        Alignment(Series(), teacher=Teacher())(Series(), batch_of())
    strange = Alignment(Tokens(), teacher=lambda series: 3, teacher_dim=4)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match=r"^Alignment: the teacher's features must be a tensor"):
        strange(Tokens(), batch_of())
