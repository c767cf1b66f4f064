"""Self-maps whose attractors, repellers and basins are known in closed form."""

import math

import torch


def halves(x):
    """Attract to -1 and 1 on the first axis; each half of the plane is a basin."""
    # tanh(4) = 0.99932930 scales the fixed points to -1 and 1
    return torch.stack([torch.tanh(4 * x[:, 0]) / 0.99932930, 0.7 * x[:, 1]], 1)


def cubic(x):
    """Attract each coordinate to -1 and 1 (slope 1 - 2a); 0 is a repeller (slope 1 + a), a = .3."""
    return x + 0.3 * (x - x**3)


def affine(matrix):
    # a row vector is mapped by the transpose; the Jacobian is the matrix everywhere
    return lambda x: x @ matrix.T + 1.0


def rotation(degrees, scale=1.0):
    """Return the matrix that rotates the plane and scales it."""
    c = math.cos(math.radians(degrees))
    s = math.sin(math.radians(degrees))
    return scale * torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
