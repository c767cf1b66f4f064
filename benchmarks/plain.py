"""What a competent user would write today, plainly."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vmap


def in_float64(model: nn.Module):
    """The model as a function on float64 tensors."""
    parameters = {name: value.detach().double() for name, value in model.named_parameters()}
    return lambda x: functional_call(model, parameters, (x,))


def dense_spectrum(model: nn.Module, x: Tensor) -> Tensor:
    """Radius by the full Jacobian in float64 and all its eigenvalues."""
    f = in_float64(model)
    row = lambda flat: f(flat.reshape(1, *x.shape[1:])).flatten()  # noqa: E731
    jacobians = vmap(jacrev(row, chunk_size=512))(x.double().flatten(1))
    return torch.linalg.eigvals(jacobians).abs().amax(1)


def power_iteration(model: nn.Module, x: Tensor, steps: int) -> Tensor:
    """Radius by power iteration on Jacobian-vector products."""
    f, x = in_float64(model), x.double()
    v = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    for _ in range(steps):
        v = v / v.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
        v = jvp(f, (x,), (v,))[1]
    return v.flatten(1).norm(dim=1)


@torch.no_grad()
def looped_recovery(model: nn.Module, starts: Tensor, examples: Tensor, steps: int, eps: float) -> list[float]:
    """R_t by iterating every start and comparing with exact distances at each step."""
    rates, x = [], starts
    for t in range(steps + 1):
        x = model(x) if t else x
        gaps = torch.cdist(x.flatten(1), examples.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
        rates.append((gaps < eps).any(0).float().mean().item())
    return rates


@torch.no_grad()
def float64_recovery(model: nn.Module, starts: Tensor, examples: Tensor, steps: int, eps: float) -> list[float]:
    """R_t by iterating every start and comparing with distances from float64 products at each step."""
    rates, x, b = [], starts, examples.flatten(1).double()
    lengths = b.square().sum(1)
    for t in range(steps + 1):
        x = model(x) if t else x
        a = x.flatten(1).double()
        squares = a.square().sum(1, keepdim=True) + lengths - 2 * a @ b.T
        rates.append((squares < eps**2).any(0).float().mean().item())
    return rates
