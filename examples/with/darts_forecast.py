"""Darts: a TimeSeries goes in, draws come out as a TimeSeries, and darts measures them."""

import numpy as np
import pandas as pd
from darts import TimeSeries
from darts.metrics import mae
from darts.models import NaiveMean, NaiveSeasonal

from ssltok.data import windows
from ssltok.pipelines import SSLTokenizer, shorten

random = np.random.default_rng(0)
months = pd.date_range("1984-01-01", periods=480, freq="MS")
season = 10 * np.sin(2 * np.pi * np.arange(480) / 12) + 4 * np.sin(2 * np.pi * np.arange(480) / 6)
whole = TimeSeries.from_times_and_values(months, 100 + season + random.normal(size=480))
past, future = whole[:-24], whole[-24:]

X = past.values().T  # (channels, length)
cut = windows(X, 72, 4).values
model = SSLTokenizer(shorten("compact", steps=100), seed=0, progress=False).fit(cut)
draws = model.forecast(X[None], horizon=24, samples=50, seed=1)  # (draws, 1, channels, length)
values = draws[:, 0].transpose(2, 1, 0)  # darts: (length, channels, draws)
forecast = TimeSeries.from_times_and_values(future.time_index, values)

for name, predicted in (
    ("ssltok's median", forecast.quantile(0.5)),
    ("the last year again", NaiveSeasonal(K=12).fit(past).predict(24)),
    ("the mean", NaiveMean().fit(past).predict(24)),
):
    print(f"{name}: mean absolute error {mae(future, predicted):.2f}")
