"""pandas and polars: the same log from either, and a forecast that is a frame with dates again."""

import numpy as np
import pandas as pd
import polars as pl
import torch

from ssltok.data import forecast_times, load_dataset, train_and_test
from ssltok.pipelines import SSLTokenizer, shorten

random = np.random.default_rng(0)
hours = np.arange(24 * 40)
load = 60 - 15 * np.cos(2 * np.pi * hours / 24) + random.normal(size=len(hours))
dates = pd.date_range("2024-01-01", periods=len(hours), freq="h", name="time")
log = pd.DataFrame({"load": load, "outside": 12 + 0.1 * load}, index=dates)

data = load_dataset(log)
same = load_dataset(pl.from_pandas(log.reset_index()))
print(f"{data.about}; the same from polars: {np.array_equal(data.train, same.train)}")
windows = train_and_test(data, torch.Generator().manual_seed(0), window=48, stride=8)
model = SSLTokenizer(shorten("compact", steps=60), seed=0, progress=False).fit(windows.train)

draws = model.forecast(data.train, horizon=24, samples=20, seed=1)  # (draws, 1, channels, hours)
(times,) = forecast_times(data, 24)
low, middle, high = np.quantile(draws[:, 0, 0], [0.1, 0.5, 0.9], axis=0)
forecast = pd.DataFrame({"low": low, "load": middle, "high": high}, index=times).round(1)
print(forecast.iloc[::6])
print(pl.from_pandas(forecast, include_index=True).shape)
