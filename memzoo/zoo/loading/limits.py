"""Stop the building of a network that is larger than the weights it is to get."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from memzoo.errors import CorruptCheckpointError


@contextmanager
def limit_parameters(count: float, numbers: float, problem: str) -> Iterator[None]:
    """Raise in the middle of building a network, before the memory of a parameter is filled.

    Even without memory for their numbers, ten million layers would take all of it.

    Args:
        count: Most parameters, those that are made again counted again.
        numbers: Most numbers in them.
        problem: What to say if there are more.

    Raises:
        CorruptCheckpointError: In this thread, a parameter too many was made.
    """
    thread = threading.get_ident()
    made = 0
    size = 0

    def count_parameter(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal made, size
        if threading.get_ident() != thread:
            return
        made += 1
        size += parameter.numel() if isinstance(parameter, nn.Parameter) and not nn.parameter.is_lazy(parameter) else 0
        if made > count or size > numbers:
            raise CorruptCheckpointError(problem)

    handle = register_module_parameter_registration_hook(count_parameter)
    try:
        yield
    finally:
        handle.remove()
