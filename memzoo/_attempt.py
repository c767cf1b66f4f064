"""Try what may fail, and let pass that memory is used up, which says nothing about a map."""

from contextlib import suppress
from types import TracebackType

import torch

OF_THE_CPU = "DefaultCPUAllocator"
"""Words in the error of torch for a tensor that does not fit into the main memory; it has no type of its own."""


class Attempt(suppress):
    """Suppress errors of some types, as :class:`contextlib.suppress` does, unless memory is used up."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Tell whether an error is suppressed."""
        return not is_out_of_memory(error) and super().__exit__(kind, error, trace)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error says that memory is used up."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or OF_THE_CPU in str(error)
