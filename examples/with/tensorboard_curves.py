"""TensorBoard: a fit that keeps checkpoints writes its curves beside them, with nothing to do."""

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssltok.pipelines import SSLTokenizer, shorten

random = np.random.default_rng(0)
waves = np.sin(np.linspace(0, 12, 64) * random.uniform(1, 3, (40, 1))) * 3 + 20
model = SSLTokenizer(shorten("compact", steps=20), progress=False, checkpoints="checkpoints")
model.fit(waves)

# tensorboard --logdir checkpoints/tensorboard   shows them; here they are read.
for stage in model.histories_:
    curves = EventAccumulator(f"checkpoints/tensorboard/{stage}").Reload()
    for name in curves.Tags()["scalars"]:
        points = curves.Scalars(name)
        first, last = points[0].value, points[-1].value
        print(f"{stage:9} {name:12} {first:8.3f} at first, {last:8.3f} after {len(points)} steps")
