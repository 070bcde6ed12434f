"""What lives between steps: EMA teacher, feature queue, centre, prototypes.

`forward` reads, `update` writes; everything is in `state_dict`.
"""

from ssltok.state._ema_teacher import EMATeacher, average_buffers, copy_buffers, keep_buffers
from ssltok.state._feature_queue import FeatureQueue
from ssltok.state._prototypes import Prototypes
from ssltok.state._running_center import RunningCenter

__all__ = [
    "EMATeacher",
    "FeatureQueue",
    "Prototypes",
    "RunningCenter",
    "average_buffers",
    "copy_buffers",
    "keep_buffers",
]
