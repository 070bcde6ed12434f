"""Samples in a file: labels come back with their types, and nothing is unpickled."""

import pathlib
from typing import Any

import numpy as np
import pytest
import torch

from ssltok.data import load_dataset
from ssltok.evaluation import load_samples, save_samples

X = np.arange(32, dtype=np.float32).reshape(4, 1, 8)


@pytest.mark.parametrize(
    "labels",
    [
        [1, 2, 1, 3], ["1", "2", "", "b"], [True, False, True, True], [1.5, 2.0, 1.5, -1.0],
        [1, "1", None, 2.5], [1, True, 1.0, 0], [2**70, 1, 2, 3], ["a\0", "b", "c", "d"],
        [np.int64(3), np.str_("x"), torch.tensor(4), np.float64(0.5)],
        [None] * 4, ["a", "b", "c", "a"], [2**53 + 1, 1, 2, 3],
    ],
)  # fmt: skip
def test_labels_keep_their_types(tmp_path: pathlib.Path, labels: list[Any]) -> None:
    save_samples(tmp_path / "s.npz", X, labels=labels, codes=np.ones((4, 3), dtype=np.int64))
    found = load_samples(tmp_path / "s.npz")
    plain = [v.item() if hasattr(v, "item") else v for v in labels]
    assert found.labels == plain
    assert [type(v) for v in found.labels or []] == [type(v) for v in plain]
    assert np.array_equal(found.series, X)
    assert found.series.dtype == np.float32
    assert found.codes.shape == (4, 3)


def test_old_names_and_other_files_are_read(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "old.npz", series=X, codes=X[:, 0], labels=np.array(["a", "b", "a", "b"]))
    found = load_samples(tmp_path / "old.npz")
    assert found.labels == ["a", "b", "a", "b"]
    assert np.array_equal(found.series, X)
    np.savez(tmp_path / "parts.npz", X_train=X, y_train=[1, 2, 3, 4], X_test=X)
    assert load_samples(tmp_path / "parts.npz").labels == [1, 2, 3, 4]
    np.save(tmp_path / "s.npy", X)
    assert load_samples(str(tmp_path / "s.npy")).labels is None
    save_samples(tmp_path / "bare.npz", torch.from_numpy(X))
    assert load_samples(tmp_path / "bare.npz")[1:] == (None, None)


def test_samples_are_a_data_set_too(tmp_path: pathlib.Path) -> None:
    save_samples(tmp_path / "s.npz", X, labels=[3, 4, 3, 4])
    assert load_dataset(str(tmp_path / "s.npz")).train_labels == [3, 4, 3, 4]


def test_refuses(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"^save_samples: path must end in .npz; got s.npy$"):
        save_samples("s.npy", X)
    with pytest.raises(ValueError, match=r"^save_samples: labels must be as many as series"):
        save_samples(tmp_path / "s.npz", X, labels=[1])
    with pytest.raises(TypeError, match=r"^save_samples: labels must be texts, numbers, boole"):
        save_samples(tmp_path / "s.npz", X, labels=[(1, 2)] * 4)
    assert not (tmp_path / "s.npz").exists()
    np.savez(tmp_path / "o.npz", X=np.array([object()] * 4))
    with pytest.raises(ValueError, match=r"^load_samples: .* must be readable; got Object arrays"):
        load_samples(tmp_path / "o.npz")
    (tmp_path / "d.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"^load_samples: .* must be readable"):
        load_samples(tmp_path / "d.npz")
    with pytest.raises(FileNotFoundError):
        load_samples(tmp_path / "none.npz")
