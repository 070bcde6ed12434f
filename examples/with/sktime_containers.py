"""sktime: four of its containers hold the same series, and give the same codes."""

import numpy as np
from sktime.classification.distance_based import KNeighborsTimeSeriesClassifier
from sktime.datasets import load_gunpoint
from sktime.datatypes import convert

from ssltok.pipelines import SSLTokenizer, shorten

X, y = load_gunpoint(split="train", return_type="numpy3d")
model = SSLTokenizer(shorten("compact", steps=20), seed=0, progress=False).fit(X, y)
codes = model.encode(X)
for mtype in ("pd-multiindex", "nested_univ", "df-list"):
    same = np.array_equal(model.encode(convert(X, "numpy3D", mtype, "Panel")), codes)
    print(f"{mtype}: the same codes: {same}")

# New series of each class, drawn from tokens, train an estimator of sktime as real ones would.
labels = np.repeat(model.classes_, 25)
drawn = np.concatenate([model.sample(25, label=label, seed=1) for label in model.classes_])
X_test, y_test = load_gunpoint(split="test", return_type="numpy3d")
for name, series, known in (("real", X, y), ("generated", drawn, labels)):
    nearest = KNeighborsTimeSeriesClassifier(distance="euclidean").fit(series, known)
    print(f"trained on {name} series: {nearest.score(X_test, y_test):.0%} of the test set right")
