"""Types that all folders share."""

from collections.abc import Callable

from torch import Tensor

Map = Callable[[Tensor], Tensor]
"""A map of a space to itself: from a batch ``(B, *shape)`` to a batch of the same shape; rows do not interact."""
