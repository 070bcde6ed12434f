"""What objectives of a queue of a teacher's keys share: a query, its key, and both kept going."""

from torch import Tensor, nn

from ssltok.distributed import gather
from ssltok.state import EMATeacher, FeatureQueue
from ssltok.training._objectives._plain import PlainObjective
from ssltok.training._objectives._protocol import ObjectiveBatch
from ssltok.training._objectives._rows import Tower, check_views, projected

__all__ = ["KeyedObjective"]


class KeyedObjective(PlainObjective):
    """The first view through encoder and projector, the second through a slow teacher."""

    momentum: float

    def _build_queue(self, encoder: nn.Module, queue_size: int, momentum: float) -> None:
        """Build the teacher and its queue; the projector is there already."""
        self.queue_size, self.momentum = queue_size, momentum
        self.teacher = EMATeacher(Tower(encoder, self.projector, self.pool), training=True)
        self.queue = FeatureQueue(queue_size, self.projector_dim)

    def _query_and_key(self, encoder: nn.Module, batch: ObjectiveBatch) -> tuple[Tensor, Tensor]:
        """Return this process's query and key, `(rows, projector_dim)` each."""
        who = type(self).__name__
        check_views(who, batch, self.views, read=True)
        features = None if batch.features is None else batch.features[:1]
        first = batch._replace(views=batch.views[:1], features=features)
        (query,) = projected(who, encoder, first, head=self.projector, pool=self.pool)
        (key,) = self.teacher(batch.views[1:], batch.valid)
        return query, key

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Move the teacher, and push the keys of all processes into the queue."""
        self._follow(self.teacher, encoder, momentum=self.momentum)
        self.queue.update(gather(memory[0]))
