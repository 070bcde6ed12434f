"""What an arm's words set, and that the harness uses it: each line of the recipe has an effect."""

from typing import Any

import pytest
import torch

pytest.importorskip("sklearn")

from benchmarks.studies.ssl_tokens import train as harness
from benchmarks.studies.ssl_tokens.arms import build_arm
from benchmarks.studies.ssl_tokens.data import make_split
from benchmarks.studies.ssl_tokens.parts import (
    contrast,
    halton_order,
    inverted_mask,
    joined_codes,
    projected_fsq,
    with_quantizers,
)
from benchmarks.studies.ssl_tokens.sampling import draw_series, trace_decoding
from benchmarks.studies.ssl_tokens.train import build_stage_one, train_arm, with_other_masks

from ssltok.decoding import iterative_decode, temperature_sample
from ssltok.pipelines import PriorBatch, TokenizerConfig, build_tokenizer, compact, start_tokenizer
from ssltok.training import Stage, keyed_generator
from tests.benchmarks.small import BARLOW, toy

SPLIT = make_split("toy", toy(), kind="test", seed=0, most_test=10)


def train(name: str, **options: Any) -> harness.Trained:
    return train_arm(build_arm(name, size="tiny"), SPLIT, steps=(2, 2), seed=4, **options)


def test_a_preset_keeps_its_old_name() -> None:
    assert build_arm("ssltok").config == build_arm("compact").config == compact()


def test_changes_are_recorded_in_their_order() -> None:
    arm = build_arm(f"{BARLOW}:paid=all,codes=64,mask=inverted", size="tiny")
    assert arm.changes == (("paid", "all"), ("mask", "inverted"))
    assert arm.config.tokenizer.codebook_size == 64


@pytest.mark.parametrize(("word", "kmeans"), [("fsq", False), ("residual", True)])
def test_a_replaced_quantizer_is_never_revived(word: str, kmeans: bool) -> None:
    words = f"one:tokenizer.revival_ratio=0.5,quantizer={word}"
    config = build_arm(words, size="tiny").config.tokenizer
    assert config.revival_ratio == 0
    assert config.kmeans is kmeans


def test_quantizers_have_the_configs_numbers() -> None:
    config = TokenizerConfig(dim=4, codebook_size=9, decay=0.25, commitment_weight=0.75)
    quantizer: Any = joined_codes(config)
    assert (quantizer.dim, quantizer.codebook_size) == (4, 9)
    for level in quantizer.levels.quantizers:
        assert (level.decay, level.commitment_weight) == (0.25, 0.75)


def test_a_recomposed_tokenizer_keeps_its_scaler() -> None:
    config = TokenizerConfig(dim=4, codebook_size=64, blocks=0)
    plain = build_tokenizer(config, channels=1, length=33)
    other = with_quantizers(plain, [projected_fsq(config)])
    assert other.scaler is plain.scaler
    assert other.transform is plain.transform


def test_contrast_has_the_small_batches_temperature() -> None:
    model: Any = build_stage_one(build_arm("one+nt_xent+warp", size="tiny"), SPLIT.train, seed=0)
    assert model.objective.temperature == 0.5
    encoder = torch.nn.Flatten()
    encoder.dim = 6  # type: ignore[assignment]
    assert contrast(encoder, projector_dim=5).projector(torch.zeros(3, 6)).shape == (3, 5)


def test_other_masks_hide_no_padding() -> None:
    codes = torch.zeros(50, 12, dtype=torch.int64)
    codes[:, 7:] = -1
    batch = PriorBatch(codes, torch.zeros_like(codes, dtype=torch.bool), torch.zeros(50))
    stage = Stage("prior", torch.nn.Identity(), lambda step, rows: batch, lambda s, r: None, None)
    prior: Any = type("Sizes", (), {"sizes": (12,)})
    masks = with_other_masks(stage, inverted_mask, prior, seed=0).draw(0, slice(None)).masks
    assert not bool(masks[:, 7:].any())
    assert bool(masks[:, :7].any())


def test_masks_and_starts_reach_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    masks, starts = [], []
    with_masks = harness.with_other_masks

    def other_masks(stage: Stage, mask: Any, prior: Any, *, seed: int) -> Stage:
        masks.append((mask, seed))
        return with_masks(stage, mask, prior, seed=seed)

    def start_one(*parts: Any, codebooks: bool, **options: Any) -> None:
        starts.append(codebooks)
        start_tokenizer(*parts, codebooks=codebooks, **options)

    monkeypatch.setattr(harness, "with_other_masks", other_masks)
    monkeypatch.setattr(harness, "start_tokenizer", start_one)
    train("one")
    assert (masks, starts) == ([], [True])
    train("one:mask=inverted,tokenizer.kmeans=False")
    assert (masks, starts) == ([(inverted_mask, 4)], [True, False])


def test_probing_stops_the_clock() -> None:
    stopped = []

    class Clock(harness.Clock):
        def stop_for(self, work: Any) -> Any:
            stopped.append(len(self.marks))
            return super().stop_for(work)

    trained = train("one", probe=lambda t: {"seen": 1.0}, probe_every=2, clocks=(Clock(), Clock()))
    assert stopped == [2]  # once, after the second step
    assert [(p["step"], p["seen"]) for p in trained.curve] == [(2, 1.0)]


def test_a_trace_is_a_drawing_of_its_own() -> None:
    arm, trained = build_arm("one", size="tiny"), train("one")
    labels, lengths = torch.arange(5) % 2, torch.full((5,), 33)
    trace = trace_decoding(arm, trained, labels=labels, lengths=lengths, seed=7)
    generator = keyed_generator(7, "study trace")
    drawn = draw_series(arm, trained, labels=labels, lengths=lengths, generator=generator)
    assert trace["tokens"][-1] == drawn.codes[0].tolist()


def test_halton_order_fills_the_grid_evenly() -> None:
    """Base 2 along frequencies and 3 along frames: the first places of (2, 3) are known."""
    seen: list[torch.Tensor] = []

    def logits(tokens: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        seen.append(tokens.clone())
        return torch.zeros(int(where.sum()), 4)

    iterative_decode(
        logits, torch.full((1, 6), 4), mask_index=4, steps=6, schedule=lambda done: 1 - done,
        order=halton_order((2, 3)), sample=temperature_sample(temperature=1.0),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    filled = [set((tokens[0] != 4).nonzero()[:, 0].tolist()) for tokens in seen]
    # The points (1/2, 1/3), (1/4, 2/3), (3/4, 1/9), (1/8, 4/9): rows 1, 0, 1, 0, frames 1, 2, 0, 1.
    assert filled[:5] == [set(), {4}, {4, 2}, {4, 2, 3}, {4, 2, 3, 1}]
