"""scikit-learn's own checks of an estimator, as far as they apply; the rest with its reason."""

import os
import pathlib
import pickle
import sys
import time
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils import check_array
from sklearn.utils.estimator_checks import parametrize_with_checks

from ssltok._shared.described import description_of
from ssltok.pipelines import AutoConfig, SSLTokenizer
from ssltok.pipelines._stages import duration, paced, teller
from ssltok.training import Stage
from tests.pipelines.small import series, small

SKIPPED = {
    "check_array_api_input": "series are brought to torch; other arrays only come in",
    "check_complex_data": "complex series are refused as TypeError, in words of our own",
    "check_dtype_object": "objects that are no numbers are refused in words of our own",
    "check_estimators_empty_data_messages": "empty series are refused in words of our own",
    "check_fit2d_predict1d": "an array of one axis is refused in words of our own",
    "check_n_features_in": "series have lengths of their own, and no number of features",
    "check_n_features_in_after_fitting": "series have lengths of their own",
    "check_transformer_general": "shorter series than those of training are series too",
    "check_transformer_preserve_dtypes": "embeddings are float32 whatever the series are",
}
QUICK = {  # the others take a fit or more of a second each: all of them with SSLTOK_ALL=1
    "check_dict_unchanged", "check_do_not_raise_errors_in_init_or_set_params", "check_fit1d",
    "check_estimator_cloneable", "check_estimator_repr", "check_estimator_sparse_matrix",
    "check_estimators_unfitted", "check_get_params_invariance", "check_no_attributes_set_in_init",
    "check_mixin_order", "check_parameters_default_constructible", "check_set_params",
    "check_valid_tag_types",
}  # fmt: skip
EVERYTHING = bool(os.environ.get("SSLTOK_ALL"))


def widened(x: Any) -> Any:
    """The checks' tables of a few columns as series of at least 8 samples."""
    try:
        x = check_array(x, ensure_all_finite=False, dtype=None)
    except (ValueError, TypeError):
        return x
    return np.repeat(x, 8, axis=1)


class Wide(SSLTokenizer):
    """`SSLTokenizer` behind a door that makes series of the checks' tables."""

    def fit(self, X: Any, y: Any = None, *, conditions: Any = None) -> "Wide":  # noqa: N803
        return super().fit(widened(X))

    def transform(self, X: Any) -> Any:  # noqa: N803
        return super().transform(widened(X))

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        return super().score(widened(X))


def tiny(**options: Any) -> Any:
    return {"preset": small(steps=1, ssl="none", blocks=0), "progress": False, **options}


@pytest.mark.filterwarnings("ignore:fit. k-means needs")
@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [Wide(**tiny())], expected_failed_checks=lambda estimator: SKIPPED, xfail_strict=True
)
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    name = getattr(check, "func", check).__name__
    if not EVERYTHING and name not in QUICK:
        pytest.skip("with SSLTOK_ALL=1")
    check(estimator)


def test_a_fitted_estimator_can_be_pickled() -> None:
    model = SSLTokenizer(**tiny()).fit(series(6), list("aab") * 2)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.sample(2, "b", seed=1), model.sample(2, "b", seed=1))
    rules = [description_of(m.artifact_.decoding.orders[0]) for m in (twin, model)]
    assert rules[0] == rules[1] is not None


def test_nested_parameters_are_searched() -> None:
    search = GridSearchCV(
        SSLTokenizer(**tiny()), {"preset__tokenizer__dim": [4, 8]}, cv=2, error_score="raise"
    ).fit(series(8))
    assert search.best_params_["preset__tokenizer__dim"] in (4, 8)
    assert clone(search.best_estimator_).get_params()["preset__tokenizer__dim"] in (4, 8)


def test_one_default_for_both_doors(tmp_path: pathlib.Path) -> None:
    from ssltok.cli._commands import Run

    default = SSLTokenizer()
    assert default.get_params()["preset"] == Run().preset == "auto"
    assert Run().config() == AutoConfig(given={"precision": "no", "workers": 0})
    assert default.progress


def test_it_says_how_long_it_will_take(capsys: pytest.CaptureFixture[str]) -> None:
    def lines(**options: Any) -> list[str]:
        SSLTokenizer(**tiny(preset=small(steps=12, ssl="none", blocks=0), **options)).fit(series(6))
        return [x for x in capsys.readouterr().err.splitlines() if "steps, about" in x]

    said = lines(verbose=1)
    assert [line.split(":")[0] for line in said] == ["tokenizer", "prior"]
    assert all("12 steps, about 1 seconds more at most" in line for line in said)
    assert lines() == lines(verbose=False) == []  # no terminal


def test_lines_follow_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert teller(progress=True, verbose=None) is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert teller(progress=True, verbose=None) is not None
    assert teller(progress=False, verbose=None) is None
    assert teller(progress=True, verbose=0) is None


@pytest.mark.parametrize(("steps", "told"), [(1, 1), (2, 1), (11, 1), (300, 1)])
def test_pace(steps: int, told: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    said: list[str] = []
    seen: list[int] = []
    stage = Stage("s", None, None, lambda step, results: seen.append(step), None)  # type: ignore[arg-type]
    stage = paced(stage, steps, said.append)
    for step in range(steps):
        stage.after_step(step, [])
    assert seen == list(range(steps))
    assert len(said) == told
    if steps == 300:
        assert said == ["s: 300 steps, about 5 minutes more at most"]  # 289 at one a second


def test_durations() -> None:
    assert [duration(x) for x in (0.1, 90, 150, 7100, 7300)] == [
        "1 seconds", "90 seconds", "2 minutes", "118 minutes", "2 hours",
    ]  # fmt: skip
