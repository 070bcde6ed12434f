"""What 0.1 called by another address still works until 0.3, with a warning."""

import importlib
import subprocess
import sys

import pytest

import ssltok.pipelines as pipelines
from ssltok.pipelines import MOVED, SSLTokenizer, compact, shorten

NAMES = {
    "Artifact", "ArtifactError", "Config", "Dataset", "DecodingConfig", "Fitted",
    "Generated", "History", "Prior", "PriorBatch", "PriorConfig", "PriorOutput", "Report",
    "ReportRow", "SSLTokenizer", "SeriesSet", "Tokenizer", "TokenizerBatch",
    "TokenizerConfig", "TokenizerEncoder", "TokenizerOutput", "TokenizerTerms", "Tokens",
    "TrainingConfig", "config_from_dict", "config_to_dict", "decode_tokens", "demo",
    "encode_series", "evaluate", "evaluate_encoder", "fit", "generate", "keyed_generator",
    "keyed_seed", "label_index", "load_artifact", "load_dataset", "loss_by_share",
    "nc_vqvae", "ordered_batch", "prior_step", "read_series", "save_artifact", "shorten",
    "ssltok", "timevqvae", "tokenizer_step",
}  # fmt: skip
"""All that `ssltok.pipelines` listed at commit 8935227, but `build_projector`, which an objective
owns now."""


@pytest.mark.parametrize("name", sorted(MOVED))
def test_moved_names_are_the_new_ones(name: str) -> None:
    new = f"ssltok.{MOVED[name]}.{name}"
    with pytest.warns(DeprecationWarning, match=rf"^ssltok.pipelines.{name}: is {new} now; this a"):
        old = getattr(pipelines, name)
    assert old is getattr(importlib.import_module(f"ssltok.{MOVED[name]}"), name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_name_of_before_is_still_there() -> None:
    assert [name for name in sorted(NAMES) if not hasattr(pipelines, name)] == []
    assert set(MOVED) <= NAMES
    assert not set(MOVED) & set(pipelines.__all__), "what moved has one address"


def test_the_old_name_of_the_preset() -> None:
    with pytest.warns(DeprecationWarning, match=r"ssltok.pipelines.ssltok: the preset is compact"):
        assert pipelines.ssltok is compact
    with pytest.warns(DeprecationWarning, match=r"^shorten: the preset ssltok is compact now"):
        assert shorten("ssltok", steps=3) == shorten("compact", steps=3)
    with pytest.warns(DeprecationWarning, match=r"^SSLTokenizer: the preset ssltok is compact"):
        assert SSLTokenizer("ssltok").get_params()["preset__tokenizer__codebook_size"] == 64


def test_a_name_that_never_was_is_refused_as_usual() -> None:
    with pytest.raises(AttributeError, match=r"module 'ssltok.pipelines' has no attribute 'none'"):
        _ = pipelines.none


@pytest.mark.parametrize("module", ["ssltok", "ssltok.pipelines"])
def test_the_command_at_both_addresses(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning:__main__", "-m", module, "--version"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ssltok 0.")
    warned = "python -m ssltok.pipelines: is python -m ssltok now" in done.stderr
    assert warned is (module == "ssltok.pipelines")
