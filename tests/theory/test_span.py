"""The span of the examples by its decomposition."""

import math

import pytest
import torch
from draws import normal
from torch.testing import assert_close

from memzoo.errors import NonFiniteError
from memzoo.theory import (
    span_of,
)


def test_span_is_a_decomposition():
    x = normal(3, 5)
    found = span_of(x)
    assert_close(found.basis * found.singular_values @ found.coefficients.T, x.T)
    assert_close(found.pseudoinverse, torch.linalg.pinv(x.T))


def test_bad_examples():
    with pytest.raises(TypeError, match="examples must be floating point"):
        span_of(torch.ones(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"examples must be flat, one row each \(n, d\)"):
        span_of(torch.ones(2, 2, 2))
    with pytest.raises(ValueError, match="at least one point"):
        span_of(torch.ones(0, 2))
    with pytest.raises(NonFiniteError, match="examples holds NaN"):
        span_of(torch.tensor([[1.0, math.nan]]))
