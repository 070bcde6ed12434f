"""The general tokenizer as a folder, on the hub, on the command line, and on somebody's series."""

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from ssltok._shared.storage import read_folder, write_folder
from ssltok.cli import main
from ssltok.pipelines import ArtifactError, SSLTokenizer
from ssltok.pipelines._general._files import SHIPPED, shipped
from tests.pipelines import general_model
from tests.pipelines.test_general import walks

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return general_model.folder(tmp_path_factory.mktemp("general"))


# the one that ships


def test_the_shipped_one_is_small_whole_and_pinned(tmp_path: pathlib.Path) -> None:
    for name in SHIPPED:
        folder = shipped(name)
        assert folder is not None
        files = read_folder(folder)
        assert sum(map(len, files.values())) < 4 * 2**20
        tokenizer = SSLTokenizer.from_pretrained(name)
        numbers = load(files["model.safetensors"])
        assert sum(t.numel() for t in numbers.values()) <= 2_000_000
        assert {t.dtype for t in numbers.values()} == {torch.float16, torch.int64}
        assert tokenizer.about_["name"] == name
        for word in ("data", "metrics", "limits", "licence"):
            assert tokenizer.about_[word], word
        assert f"# {name}" in files["README.md"].decode()
        copied = tokenizer.save_pretrained(tmp_path / name)
        assert read_folder(copied) == files


def test_general_is_the_newest_and_rebuilds_waves() -> None:
    X = np.sin(np.linspace(0, 20, 300) * np.linspace(1, 2, 6)[:, None])
    tokenizer = SSLTokenizer.from_pretrained()
    assert tokenizer.score(X) > 0.98
    assert tokenizer.set_params(levels=1).score(X) > 0.9


def test_other_weights_under_its_name_are_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssltok.pipelines._general import _files

    folder = shipped("general")
    assert folder is not None
    monkeypatch.setitem(_files.SHIPPED, folder.name, "0" * 64)
    with pytest.raises(ArtifactError, match="other weights than this version"):
        SSLTokenizer.from_pretrained("general")


# a folder


def test_save_and_load(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    X, tokenizer = walks(3, 2, 90), SSLTokenizer.from_pretrained(model, levels=2)
    twin = SSLTokenizer.from_pretrained(tokenizer.save_pretrained(tmp_path / "twin"))
    np.testing.assert_array_equal(twin.encode(X)[:, 1:, :2], tokenizer.encode(X)[:, 1:, :2])
    np.testing.assert_array_equal(twin.set_params(levels=2).transform(X), tokenizer.transform(X))
    with pytest.raises(FileExistsError):
        tokenizer.save_pretrained(tmp_path / "twin")
    card = (tmp_path / "twin" / "README.md").read_text()
    for words in ("license: mit", "# nobody-1", "it knows nothing", 'from_pretrained("nobody-1")'):
        assert words in card


def text(change: Callable[[Any], Any]) -> Callable[[Files], None]:
    def harm(files: Files) -> None:
        files["config.json"] = json.dumps(change(json.loads(files["config.json"]))).encode()

    return harm


def option(name: str, value: Any) -> Callable[[Files], None]:
    return text(lambda plain: {**plain, "options": {**plain["options"], name: value}})


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Files], None]:
    def harm(files: Files) -> None:
        held = load(files["model.safetensors"])
        change(held)
        files["model.safetensors"] = save(held)

    return harm


def nan(held: dict[str, torch.Tensor]) -> None:
    held["decoder.network.leave.bias"][0] = torch.nan


HARMS: dict[str, Callable[[Files], None]] = {
    "a file more": lambda files: files.update({"x.txt": b"1"}),
    "a file less": lambda files: files.__delitem__("README.md"),
    "no JSON": lambda files: files.update({"config.json": b"{"}),
    "a list": text(lambda plain: [plain]),
    "another kind": text(lambda plain: {**plain, "kind": "general tokenizer "}),
    "another format": text(lambda plain: {**plain, "format": 2}),
    "format true": text(lambda plain: {**plain, "format": True}),
    "about a text": text(lambda plain: {**plain, "about": "me"}),
    "a key more": text(lambda plain: {**plain, "code": "import os"}),
    "an option more": option("blocks", 3),
    "hidden 1e9": option("hidden_dim", 10**9),
    "hidden 0": option("hidden_dim", 0),
    "hidden a float": option("hidden_dim", 12.0),
    "hidden true": option("hidden_dim", True),
    "another width": option("hidden_dim", 13),
    "two levels": option("levels", 2),
    "codebook of 512": option("codebook_size", 512),
    "widths a number": option("widths", 4),
    "widths too many": option("widths", [4] * 9),
    "widths too large": option("widths", [4, 10**7]),
    "dropout 2": option("dropout", 2.0),
    "dropout a text": option("dropout", "0.5"),
    "no safetensors": lambda files: files.update({"model.safetensors": b"1234"}),
    "a tensor less": tensors(lambda held: held.pop("summary.stem.bias")),
    "a tensor more": tensors(lambda held: held.update({"more": torch.zeros(1)})),
    "another shape": tensors(lambda held: held.update({"summary.stem.bias": torch.zeros(5)})),
    "another dtype": tensors(lambda held: held.update({"summary.stem.bias": torch.zeros(4).int()})),
    "NaN": tensors(nan),
}


@pytest.mark.parametrize("name", HARMS)
def test_what_is_damaged_or_foreign_is_refused(
    model: pathlib.Path, tmp_path: pathlib.Path, name: str
) -> None:
    """The seal is whole: somebody wrote it so."""
    files = read_folder(model)
    HARMS[name](files)
    folder = write_folder(tmp_path / "harmed", files)
    with pytest.raises(ArtifactError, match="must be a whole ssltok folder"):
        SSLTokenizer.from_pretrained(folder)


def test_one_bit_is_found(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for name in ("model.safetensors", "config.json", "README.md"):
        folder = tmp_path / name.replace(".", "-")
        shutil.copytree(model, folder)
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(bytes(data))
        with pytest.raises(ArtifactError):
            SSLTokenizer.from_pretrained(folder)


# the hub: a stand-in in its place, nothing is sent


class Hub:
    """What we use of `huggingface_hub`, with folders in the place of repositories."""

    class errors:  # noqa: N801
        HfHubHTTPError = LocalEntryNotFoundError = ConnectionError

    def __init__(self, root: pathlib.Path) -> None:
        self.root, self.asked = root, []  # type: ignore[var-annotated]

    def list_repo_files(self, repository: str, *, revision: str | None) -> list[str]:
        self.asked.append((repository, revision))
        if not (self.root / repository).is_dir():
            raise ConnectionError("404\nmore lines")
        return [".gitattributes", *(p.name for p in (self.root / repository).iterdir())]

    def hf_hub_download(self, repository: str, name: str, *, revision: str | None) -> str:
        link = self.root / f"link-{name}"  # the cache of the hub is one of links
        link.unlink(missing_ok=True)
        link.symlink_to(self.root / repository / name)
        return str(link)

    def create_repo(self, repository: str, *, exist_ok: bool, private: bool) -> None:
        assert exist_ok
        (self.root / repository).mkdir(parents=True, exist_ok=True)
        self.private = private

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return f"https://hub/{repo_id}: {commit_message}"


def test_the_hub(
    model: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(tmp_path)
    monkeypatch.setattr("ssltok.pipelines._general._hub._hub", lambda: hub)
    tokenizer, X = SSLTokenizer.from_pretrained(model), walks(2, 1, 50)
    address = tokenizer.push_to_hub("me/mine", private=True, message="first")
    assert address == "https://hub/me/mine: first"
    assert hub.private
    twin = SSLTokenizer.from_pretrained("me/mine@v1")
    assert hub.asked[-1] == ("me/mine", "v1")
    np.testing.assert_array_equal(twin.encode(X), tokenizer.encode(X))
    SSLTokenizer.from_pretrained("me/mine")
    assert hub.asked[-1] == ("me/mine", None)
    with pytest.raises(ValueError, match=r"'me/none' must be a repository .*Error: 404$"):
        SSLTokenizer.from_pretrained("me/none")
    (tmp_path / "me/mine/model.safetensors").write_bytes(b"no")
    with pytest.raises(ArtifactError):
        SSLTokenizer.from_pretrained("me/mine")


def test_the_real_hub_has_what_we_use() -> None:
    hub = pytest.importorskip("huggingface_hub")
    import inspect

    import huggingface_hub.errors as errors

    assert issubclass(errors.HfHubHTTPError, Exception)
    assert issubclass(errors.LocalEntryNotFoundError, Exception)
    for name, options in (
        ("list_repo_files", {"repo_id", "revision"}),
        ("hf_hub_download", {"repo_id", "filename", "revision"}),
        ("create_repo", {"repo_id", "exist_ok", "private"}),
        ("upload_folder", {"repo_id", "folder_path", "commit_message"}),
    ):
        assert options <= set(inspect.signature(getattr(hub, name)).parameters)


# the command


def test_encode_on_the_command_line(
    model: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X = walks(5, 1, 60)
    np.savetxt(tmp_path / "my.csv", X[:, 0], delimiter=",", fmt="%.6f")
    X = np.loadtxt(tmp_path / "my.csv", delimiter=",")
    data, made = str(tmp_path / "my.csv"), []
    for number, words in enumerate(
        (["--model", str(model), data], [str(model), "--data", data], ["general", "--data", data])
    ):
        out = tmp_path / f"{number}.npz"
        main(["encode", *words, "--layout", "series_in_rows", "--out", str(out)])
        made.append(dict(np.load(out)))
    tokenizer = SSLTokenizer.from_pretrained(model)
    for found in made[:2]:
        np.testing.assert_array_equal(found["codes_train"], tokenizer.encode(X))
        np.testing.assert_array_equal(found["embeddings_train"], tokenizer.transform(X))
    assert made[2]["codes_train"].shape == made[0]["codes_train"].shape
    with pytest.raises(SystemExit) as left:
        main(["encode", "--model", "nothing-3", data, "--out", str(tmp_path / "no.npz")])
    assert left.value.code == 2
    assert "model must be general" in capsys.readouterr().err


# on somebody's series


def test_a_prior_takes_one_code_a_token_texture_and_the_minutes_that_are_given(
    model: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 8 series a prior makes 300 passes at most, whether or not the tokenizer is tuned first."""
    monkeypatch.setattr("ssltok.pipelines._general._own.FINE_TUNING", 2)
    monkeypatch.setattr("ssltok.pipelines._general._own.EPOCHS", 60)
    X = walks(8, 1, 40) + np.random.default_rng(1).standard_normal((8, 1, 40))
    assert SSLTokenizer.from_pretrained(model).encode(X).min() >= 0  # three codes a token
    for method in ("fit", "fit_prior"):
        tokenizer = SSLTokenizer.from_pretrained(model, minutes=5, progress=False)
        getattr(tokenizer, method)(X)
        assert tokenizer.encode(X).ndim == 2
        config = tokenizer.artifact_.config
        assert config.prior_training.steps == 60
        assert config.tokenizer.codes_per_token == 1
        texture = tokenizer.artifact_.tokenizer.texture
        assert texture is not None
        assert texture.weight > 0


@pytest.mark.parametrize("levels", [1, 2])
def test_a_prior_on_its_tokens(model: pathlib.Path, tmp_path: pathlib.Path, levels: int) -> None:
    X, y = 50 + 3 * walks(8, 2, 60), list("ab" * 4)
    options: Any = {"levels": levels, "minutes": 1e-6, "progress": False, "seed": 1}
    tokenizer = SSLTokenizer.from_pretrained(model, **options)
    weights = {k: v.clone() for k, v in tokenizer._general().codec.state_dict().items()}
    assert tokenizer.fit_prior(X, y) is tokenizer
    for name, value in tokenizer._general().codec.state_dict().items():
        assert torch.equal(value, weights[name]), name
    codes = tokenizer.encode(X)
    assert codes.shape == ((8, 16) if levels == 1 else (8, 16, 2))  # two channels, eight patches
    assert tokenizer.sample(3, "b", seed=2).shape == (3, 2, 60)
    holes = X.copy()
    holes[:, :, 20:30] = np.nan
    filled = tokenizer.impute(holes, samples=2)
    assert filled.shape == (2, 8, 2, 60)
    np.testing.assert_array_equal(filled[0][~np.isnan(holes)], X[~np.isnan(holes)])
    assert tokenizer.forecast(X, horizon=7).shape == (1, 8, 2, 7)
    assert tokenizer.score_anomalies(X, train=X).scores.shape == (8, 60)
    assert set(tokenizer.histories_) == {"prior"}
    loaded = SSLTokenizer.from_pretrained(tokenizer.save(tmp_path / "saved"))
    assert type(loaded) is SSLTokenizer
    np.testing.assert_array_equal(loaded.encode(X), codes)
    np.testing.assert_array_equal(loaded.sample(2, "a"), tokenizer.sample(2, "a"))
    twin = SSLTokenizer.from_pretrained(model, **options).fit_prior(X, y)
    np.testing.assert_array_equal(twin.sample(3, "b"), tokenizer.sample(3, "b"))
    with pytest.raises(TypeError, match="options must be none"):
        SSLTokenizer.from_pretrained(tmp_path / "saved", levels=1)


def test_fine_tuning_moves_the_weights_and_makes_it_ones_own(
    model: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssltok.pipelines._general._own.FINE_TUNING", 30)
    X = 5 + walks(16, 1, 64, seed=3)
    tokenizer = SSLTokenizer.from_pretrained(model, levels=2, progress=False)
    frozen = SSLTokenizer.from_pretrained(model, levels=2, minutes=1e-6, progress=False).fit_prior(
        X
    )
    before = {k: v.clone() for k, v in tokenizer._general().codec.state_dict().items()}
    assert tokenizer.fit(X) is tokenizer
    assert set(tokenizer.histories_) == {"tokenizer", "prior"}
    assert tokenizer.score(X) > frozen.score(X)
    for name, value in tokenizer._general().codec.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(p.requires_grad for p in tokenizer._general().codec.parameters())
    assert tokenizer.sample(2).shape == (2, 1, 64)
