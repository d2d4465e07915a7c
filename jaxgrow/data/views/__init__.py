"""Views of objects from NMR, SoftRas's files, the user's folders or a generator."""

from jaxgrow.data.views.config import ViewDataConfig
from jaxgrow.data.views.opening import open_partitions
from jaxgrow.data.views.view_set import Partition, Partitions, ViewSet


__all__ = ["Partition", "Partitions", "ViewDataConfig", "ViewSet", "open_partitions"]
