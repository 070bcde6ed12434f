"""PyPOTS: SAITS and ssltok fill the same gaps of the same arrays; ssltok draws, so it has bands."""

import numpy as np
from pypots.imputation import SAITS
from pypots.utils.random import set_random_seed

from ssltok.pipelines import SSLTokenizer, shorten

random = np.random.default_rng(0)
set_random_seed(0)
pitch, phase = random.choice([1.0, 2.0], (96, 1)), random.uniform(0, 2, (96, 1))
whole = np.sin(np.linspace(0, 12, 48) * pitch + phase) + 0.05 * random.normal(size=(96, 48))
whole = whole.astype("float32")[:, :, None]  # PyPOTS: (cases, length, channels)
gapped = whole.copy()
starts = random.integers(4, 36, 96)
for series, start in zip(gapped, starts, strict=True):
    series[start : start + 8] = np.nan
train, test = slice(0, 80), slice(80, 96)

saits = SAITS(48, 1, n_layers=1, d_model=32, n_heads=2, d_k=16, d_v=16, d_ffn=64, epochs=15,
              device="cpu", verbose=False)  # fmt: skip
saits.fit({"X": gapped[train]})
by_saits = saits.predict({"X": gapped[test]})["imputation"]

model = SSLTokenizer(shorten("demo", steps=40), layout="channels_last", progress=False)
draws = model.fit(gapped[train]).impute(gapped[test], samples=10)  # (draws, cases, length, 1)
by_ssltok = np.median(draws, axis=0)
low, high = np.quantile(draws, [0.1, 0.9], axis=0)

hidden, truth = np.isnan(gapped[test]), whole[test]
line = np.stack(
    [
        np.interp(np.arange(48), np.flatnonzero(~gap), row[~gap])
        for row, gap in zip(gapped[test, :, 0], hidden[:, :, 0], strict=True)
    ]
)[:, :, None]
for name, filled in (("SAITS", by_saits), ("ssltok", by_ssltok), ("a straight line", line)):
    print(f"{name}: mean absolute error in the gaps {np.abs(filled - truth)[hidden].mean():.2f}")
inside = ((low <= truth) & (truth <= high))[hidden].mean()
print(f"{inside:.0%} of the hidden values lie in ssltok's band, which should hold 80%")
