"""Sources that are read one after the other: the next one is begun while one is read."""

from collections.abc import Callable, Sequence

from corekit.data.datasets.base import Batch, Source
from corekit.data.loading.data_processes import DataProcesses

Begin = Callable[[Source], DataProcesses[Batch]]


class ReadAhead:
    """The data processes of the next of several sources, so that no model waits where one ends.

    Args:
        sources: in the order in which they will be read.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.waiting = list(sources)
        self.begun: tuple[Source, DataProcesses[Batch]] | None = None

    def take(self, source: Source, begin: Begin) -> DataProcesses[Batch]:
        """The processes that read a source, begun before or now; those of the next are begun."""
        begun, self.begun = self.begun, None
        if begun is not None and begun[0] is source:
            processes = begun[1]
        else:
            processes = begin(source)
            if begun is not None:
                begun[1].close()
        place = next((number for number, each in enumerate(self.waiting) if each is source), -1)
        self.waiting = self.waiting[place + 1:]
        if self.waiting:
            self.begun = self.waiting[0], begin(self.waiting[0])
        return processes

    def close(self) -> None:
        """End what was begun and never read."""
        if self.begun is not None:
            self.begun[1].close()
            self.begun = None
