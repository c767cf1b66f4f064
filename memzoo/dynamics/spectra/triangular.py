"""Recognise matrices that are triangular in some order of the coordinates: their eigenvalues stand on the diagonal.

The zeros of a Jacobian are exact where an output does not depend on an input: in causal and in autoregressive maps.
Rounding does not move them, so that the eigenvalues are as exact as the diagonal, however far from normal the matrix.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def find_triangular(matrices: Float[Tensor, "batch n n"]) -> Bool[Tensor, " batch"]:
    """Tell which matrices are triangular up to the same permutation of rows and columns."""
    return torch.tensor([_is_triangular(matrix) for matrix in matrices], device=matrices.device)


def _is_triangular(matrix: Tensor) -> bool:
    """Sort the coordinates topologically (Kahn, Topological sorting of large networks, 1962)."""
    depends = (matrix != 0).cpu()
    depends.fill_diagonal_(False)
    open_ = depends.sum(1)
    free = (open_ == 0).nonzero().flatten()
    count = 0
    while len(free):
        count += len(free)
        open_ -= depends[:, free].sum(1)
        open_[free] = -1  # done; no later one lies among those that it depends on
        free = (open_ == 0).nonzero().flatten()
    return count == len(depends)
