"""Compute spectra and recovery as a competent user of plain PyTorch would, for memzoo to be compared with."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vmap


def convert_to_float64(model: nn.Module):
    """Turn a model into a function of float64 tensors."""
    parameters = {name: value.detach().double() for name, value in model.named_parameters()}
    return lambda x: functional_call(model, parameters, (x,))


def compute_dense_radii(model: nn.Module, x: Tensor) -> Tensor:
    """Compute spectral radii from the full Jacobian in float64 and all its eigenvalues."""
    f = convert_to_float64(model)

    def row(flat: Tensor) -> Tensor:
        return f(flat.reshape(1, *x.shape[1:])).flatten()

    jacobians = vmap(jacrev(row, chunk_size=512))(x.double().flatten(1))
    return torch.linalg.eigvals(jacobians).abs().amax(1)


def iterate_powers(model: nn.Module, x: Tensor, steps: int) -> Tensor:
    """Estimate spectral radii by power iteration on Jacobian-vector products."""
    f = convert_to_float64(model)
    x = x.double()
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(x.shape, dtype=x.dtype, generator=generator)
    for _ in range(steps):
        norms = v.flatten(1).norm(dim=1)
        v = v / norms.reshape(-1, *[1] * (x.ndim - 1))
        _, v = jvp(f, (x,), (v,))
    return v.flatten(1).norm(dim=1)


@torch.no_grad()
def recover_by_cdist(model: nn.Module, starts: Tensor, examples: Tensor, steps: int, eps: float) -> list[float]:
    """Compute R_t: iterate every start, and compare with exact distances at each step."""
    rates = []
    x = starts
    for t in range(steps + 1):
        x = model(x) if t else x
        gaps = torch.cdist(x.flatten(1), examples.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
        recovered = (gaps < eps).any(0)
        rates.append(recovered.float().mean().item())
    return rates


@torch.no_grad()
def recover_by_products(model: nn.Module, starts: Tensor, examples: Tensor, steps: int, eps: float) -> list[float]:
    """Compute R_t: iterate every start, and compare with distances from float64 products at each step."""
    rates = []
    x = starts
    b = examples.flatten(1).double()
    lengths = b.square().sum(1)
    for t in range(steps + 1):
        x = model(x) if t else x
        a = x.flatten(1).double()
        # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b
        squares = a.square().sum(1, keepdim=True) + lengths - 2 * a @ b.T
        recovered = (squares < eps**2).any(0)
        rates.append(recovered.float().mean().item())
    return rates
