"""Solve linear systems and invert matrices in a batch, one matrix at a time on a CPU.

There torch factorises several matrices side by side, and above some 150 rows that gives wrong pivots or an error as
soon as it has two threads (pytorch/pytorch#142815). One matrix at a time is also no slower: MKL takes all threads.
"""

import torch
from torch import Tensor


def solve(matrices: Tensor, right_sides: Tensor) -> tuple[Tensor, Tensor]:
    """Solve a linear system for each matrix.

    Args:
        matrices: (B, k, k), or (1, k, k) for all right sides.
        right_sides: (B, k, m).

    Returns:
        Solutions (B, k, m), and whether there is one (B,).
    """
    batch, k, m = right_sides.shape
    if len(matrices) == 1:
        columns = right_sides.movedim(0, 1).reshape(k, batch * m)
        solution, info = torch.linalg.solve_ex(matrices[0], columns)
        return solution.reshape(k, batch, m).movedim(1, 0), (info == 0).expand(batch)
    if _has_sound_batches(matrices):
        solution, info = torch.linalg.solve_ex(matrices, right_sides)
        return solution, info == 0
    return _stack([torch.linalg.solve_ex(*system) for system in zip(matrices, right_sides, strict=True)])


def invert(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Invert ``matrices`` (B, k, k); also tell where there is an inverse (B,)."""
    if _has_sound_batches(matrices):
        inverse, info = torch.linalg.inv_ex(matrices)
        return inverse, info == 0
    return _stack([torch.linalg.inv_ex(matrix) for matrix in matrices])


def _has_sound_batches(matrices: Tensor) -> bool:
    """Tell whether torch factorises these matrices correctly in one call: on a GPU, and if there are none."""
    return matrices.device.type != "cpu" or not len(matrices)


def _stack(results: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Stack the results of single matrices, and turn LAPACK's codes into flags."""
    values, codes = zip(*results, strict=True)
    return torch.stack(values), torch.stack(codes) == 0
