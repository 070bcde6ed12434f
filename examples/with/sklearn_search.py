"""scikit-learn: a tokenizer inside a pipeline, and a search over its numbers and its parts."""

from functools import partial

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ssltok.pipelines import SSLTokenizer, shorten
from ssltok.quantizers import FSQ

random = np.random.default_rng(0)
labels = np.arange(40) % 2
pitch, phase = (1 + labels)[:, None], random.uniform(0, 6, (40, 1))
waves = np.sin(np.linspace(0, 12, 48) * pitch + phase) + 0.2 * random.normal(size=(40, 48))

preset = shorten("demo", steps=4)  # for this page; leave `shorten` out for real work
pipeline = make_pipeline(
    SSLTokenizer(preset, seed=0, cpu=True, progress=False),
    StandardScaler(),
    LogisticRegression(max_iter=1000),
)
pipeline.set_params(ssltokenizer__preset__prior_training__steps=1)  # no classifier reads the prior
grid = {
    "ssltokenizer__preset__tokenizer__ssl_weight": [0.0, 0.1],
    "ssltokenizer__quantizer": [partial(FSQ, [8, 5]), partial(FSQ, [5, 5, 5])],
}
search = GridSearchCV(pipeline, grid, cv=2).fit(waves, labels)
for chosen, accuracy in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    weight, quantizer = chosen.values()
    print(f"{accuracy:.0%} right: SSL weight {weight}, FSQ {quantizer.args[0]}")
