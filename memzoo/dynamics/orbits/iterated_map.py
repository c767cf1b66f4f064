r"""Compose a map with itself: the fixed points of the p-fold composition :math:`f^p` are the points of period p."""

from torch import Tensor, nn

from memzoo._types import Map


def compose_with_itself(f: Map, times: int) -> Map:
    """Return ``f`` applied ``times`` times; a module stays a module, so that its parameters can be read in float64."""
    if times == 1:
        return f
    if isinstance(f, nn.Module):
        return IteratedMap(f, times)

    def apply_repeatedly(x: Tensor) -> Tensor:
        for _ in range(times):
            x = f(x)
        return x

    return apply_repeatedly


class IteratedMap(nn.Module):
    r"""The p-fold composition :math:`f^p` of a module with itself."""

    f: nn.Module

    def __init__(self, f: nn.Module, times: int) -> None:
        super().__init__()
        self.f = f
        self.times: int = times

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module ``times`` times."""
        for _ in range(self.times):
            x = self.f(x)
        return x
