"""What lives between steps: EMA teacher, feature queue, centre, second moment, prototypes.

`forward` reads, `update` writes; everything is in `state_dict`.
"""

from ssltok.state._ema_teacher import EMATeacher, average_buffers, copy_buffers, keep_buffers
from ssltok.state._feature_queue import FeatureQueue
from ssltok.state._prototypes import Prototypes
from ssltok.state._running_center import RunningCenter
from ssltok.state._running_moment import RunningMoment

__all__ = [
    "EMATeacher",
    "FeatureQueue",
    "Prototypes",
    "RunningCenter",
    "RunningMoment",
    "average_buffers",
    "copy_buffers",
    "keep_buffers",
]
