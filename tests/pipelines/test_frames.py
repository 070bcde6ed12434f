"""Data frames in, and data frames out where scikit-learn is asked for them."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from ssltok.pipelines import SSLTokenizer
from tests.pipelines.small import series, small

pandas = pytest.importorskip("pandas")


def test_frames_go_in_and_come_out() -> None:
    X = np.asarray(series(8))
    model = SSLTokenizer(preset=small(2), cpu=True)
    with pytest.raises(NotFittedError):
        model.get_feature_names_out()
    plain = model.fit(X).transform(X)
    names = [f"ssltokenizer{n}" for n in range(plain.shape[1])]
    assert model.get_feature_names_out().tolist() == names
    frame = pandas.DataFrame(X[:, 0], index=list("abcdefgh"))
    np.testing.assert_array_equal(model.transform(frame), plain)
    shown = model.set_output(transform="pandas").transform(frame)
    assert list(shown.columns) == names
    assert list(shown.index) == list("abcdefgh")
    np.testing.assert_array_equal(shown.to_numpy(), plain)
