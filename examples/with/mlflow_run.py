"""MLflow: every step of a fit as metrics, and the model's folder as an artifact; no server."""

from dataclasses import asdict

import mlflow
import numpy as np

from ssltok.pipelines import SSLTokenizer, shorten

random = np.random.default_rng(0)
waves = np.sin(np.linspace(0, 12, 64) * random.uniform(1, 3, (40, 1))) * 3 + 20
config = shorten("compact", steps=20)


def log(stage: str, step: int, terms: dict[str, float]) -> None:
    mlflow.log_metrics({f"{stage}/{name}": value for name, value in terms.items()}, step=step)


mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("waves")
with mlflow.start_run() as run:
    mlflow.log_params({**asdict(config.tokenizer), "seed": 0})
    model = SSLTokenizer(config, seed=0, progress=False, observe=log).fit(waves)
    model.save("model")
    mlflow.log_artifacts("model", "ssltok")
    mlflow.log_metric("variance explained", model.score(waves))

logged = mlflow.MlflowClient().get_metric_history(run.info.run_id, "tokenizer/time")
first, last = logged[0].value, logged[-1].value
print(f"MLflow holds {len(logged)} steps of the error in time: from {first:.2f} to {last:.2f}")
