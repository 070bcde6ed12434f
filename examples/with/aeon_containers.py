"""aeon: its containers go in as they are, and tokens stand beside its own transformers."""

import numpy as np
from aeon.datasets import load_basic_motions, load_japanese_vowels
from aeon.transformations.collection.feature_based import SevenNumberSummary
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ssltok.pipelines import SSLTokenizer, shorten

X, y = load_basic_motions(split="train")  # numpy3D: (cases, channels, length)
X_test, y_test = load_basic_motions(split="test")
tokenizer = SSLTokenizer(shorten("demo", steps=10), seed=0, progress=False)
for name, features in (("tokens", tokenizer), ("seven numbers", SevenNumberSummary())):
    classifier = make_pipeline(features, StandardScaler(), RidgeClassifierCV(np.logspace(-3, 3, 7)))
    accuracy = classifier.fit(X, y).score(X_test, y_test)
    print(f"{name}: {accuracy:.0%} of {len(y_test)} motions of {X.shape[1]} channels right")

vowels, _ = load_japanese_vowels(split="train")  # np-list: (channels, length) each, unequal
short = shorten("compact", steps=2)
codes = SSLTokenizer(short, progress=False).fit(vowels[:32]).encode(vowels[:4])
lengths = [series.shape[1] for series in vowels[:4]]
tokens = (codes >= 0).sum(axis=1).tolist()  # -1 beyond a series' end
print(f"series of {lengths} samples have {tokens} tokens")
