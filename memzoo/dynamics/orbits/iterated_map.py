r"""The p-fold composition :math:`f^p`, whose fixed points are the points of period p."""

from torch import Tensor, nn

from memzoo._types import Map


def power(f: Map, times: int) -> Map:
    """``f`` applied ``times`` times; a module stays one, so that its parameters can be read in float64."""
    if times == 1:
        return f
    if isinstance(f, nn.Module):
        return Power(f, times)

    def composed(x: Tensor) -> Tensor:
        for _ in range(times):
            x = f(x)
        return x

    return composed


class Power(nn.Module):
    r""":math:`f^p` of a module."""

    f: nn.Module
    times: int

    def __init__(self, f: nn.Module, times: int) -> None:
        super().__init__()
        self.f, self.times = f, times

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module again and again."""
        for _ in range(self.times):
            x = self.f(x)
        return x
