"""Layers whose dynamics is known: associative memories, codebooks, and cells with a given Jacobian at each centre."""

import torch
from torch import Tensor, nn


class Memory(nn.Module):
    """Attend to stored points: softmax(beta (x . k_i - |k_i|^2 / 2)) k. A large beta stores, a small one averages."""

    def __init__(self, keys: Tensor, beta: float) -> None:
        super().__init__()
        self.keys = nn.Parameter(keys)
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        scores = x @ self.keys.T - self.keys.square().sum(1) / 2
        return torch.softmax(self.beta * scores, 1) @ self.keys


class NearestCode(nn.Module):
    """Return the nearest code of a codebook."""

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.codes = nn.Parameter(codes)

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        distances = (x[:, None] - self.codes).square().sum(-1)
        return self.codes[distances.argmin(1)]


class Round(nn.Module):
    """Round to whole multiples of a step, as quantised networks do between their layers."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        return torch.round(x / self.step) * self.step


class Cells(nn.Module):
    """Move a point z away from the nearest centre to A (right relu(z) - left relu(-z)), measured from that centre.

    The derivative at the centre is A if both slopes are 1; else there is a kink. Without slopes, z goes to A z: this
    is the same map, but without rectifiers, whose derivative at 0 is a convention. ``bound`` limits each coordinate
    by a tanh, so that what leaves an unstable centre ends in a cycle or at another fixed point.
    """

    def __init__(
        self, centres: Tensor, matrices: Tensor, slopes: tuple[float, float] | None, bound: float | None
    ) -> None:
        super().__init__()
        self.centres = nn.Parameter(centres)
        self.matrices = nn.Parameter(matrices)
        self.slopes = slopes
        self.bound = bound

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        nearest = (x[:, None] - self.centres).square().sum(-1).argmin(1)
        z = x - self.centres[nearest]
        if self.slopes is not None:
            z = self.slopes[0] * torch.relu(z) - self.slopes[1] * torch.relu(-z)
        moved = (self.matrices[nearest] @ z[:, :, None]).squeeze(-1)
        if self.bound is not None:
            moved = self.bound * torch.tanh(moved / self.bound)
        return self.centres[nearest] + moved


class SinglePrecision(nn.Module):
    """Compute in float32 whatever it is given, as a kernel does that exists in this type alone."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.float()

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of points."""
        tensors = {name: tensor.detach().float() for name, tensor in self.inner.named_parameters()}
        return torch.func.functional_call(self.inner, tensors, (x.float(),)).to(x.dtype)
