"""Linear systems of a batch of matrices, one matrix at a time on a CPU.

There torch factorises several matrices side by side, and above some 150 rows that gives wrong pivots or an error as
soon as it has two threads (pytorch/pytorch#142815). One matrix at a time is also no slower: MKL takes all threads.
"""

import torch
from torch import Tensor


def solve(matrices: Tensor, right_sides: Tensor) -> tuple[Tensor, Tensor]:
    """Solutions (B, k, m) of ``right_sides`` (B, k, m), and where there is one (B,).

    Args:
        matrices: (B, k, k), or (1, k, k) for all right sides.
        right_sides: (B, k, m).
    """
    batch, k, m = right_sides.shape
    if len(matrices) == 1:
        solution, info = torch.linalg.solve_ex(matrices[0], right_sides.movedim(0, 1).reshape(k, batch * m))
        return solution.reshape(k, batch, m).movedim(1, 0), (info == 0).expand(batch)
    if matrices.device.type != "cpu" or not len(matrices):
        solution, info = torch.linalg.solve_ex(matrices, right_sides)
        return solution, info == 0
    pairs = [torch.linalg.solve_ex(*pair) for pair in zip(matrices, right_sides, strict=True)]
    return torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs]) == 0


def inverse(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Inverses of ``matrices`` (B, k, k), and where there is one (B,)."""
    if matrices.device.type != "cpu" or not len(matrices):
        found, info = torch.linalg.inv_ex(matrices)
        return found, info == 0
    pairs = [torch.linalg.inv_ex(matrix) for matrix in matrices]
    return torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs]) == 0
