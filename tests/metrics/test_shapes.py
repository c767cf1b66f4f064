"""The shapes in signatures, checked by beartype on ordinary calls."""

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped

from memzoo import metrics
from memzoo.metrics.constant import constant_distance
from memzoo.metrics.dimension import local_dimension
from memzoo.metrics.identity import identity_distance
from memzoo.metrics.phi_eigen import phi_eigen_residual
from memzoo.metrics.phi_span import phi_span_residual
from memzoo.metrics.radius import spectral_radius
from memzoo.metrics.reconstruction import reconstruction_error
from memzoo.metrics.recovery import recovery_probability
from memzoo.metrics.span import span_residual

# each function with arguments of the shapes that its signature names
CALLS = {
    span_residual: lambda rows, others: (rows, others),
    phi_span_residual: lambda rows, others: (rows, others, torch.logit),
    phi_eigen_residual: lambda rows, _: (rows, rows),
    reconstruction_error: lambda rows, _: (rows, rows),
    recovery_probability: lambda rows, others: (rows, others, 0.5),
    identity_distance: lambda rows, _: (rows, rows),
    constant_distance: lambda rows, _: (rows, rows),
    local_dimension: lambda rows, _: (rows.flatten(1)[:, :4].reshape(-1, 2, 2),),
    spectral_radius: lambda rows, _: (rows.flatten(1)[:, :4].reshape(-1, 2, 2),),
}


def test_every_function_of_the_metrics_is_called():
    functions = {name for name in metrics.__all__ if name.islower()}
    missing = functions - {function.__name__ for function in CALLS}
    assert not missing, (
        f"no call of {', '.join(sorted(missing))}: add a row with its arguments to CALLS in "
        "tests/metrics/test_shapes.py"
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(4,), (2, 3)])
@pytest.mark.parametrize("function", CALLS)
def test_shapes_are_those_of_the_signature(function, shape, dtype):
    rows = torch.rand(5, *shape).to(dtype) * 0.8 + 0.1
    others = torch.rand(3, *shape).to(dtype) * 0.8 + 0.1
    found = jaxtyped(typechecker=beartype)(function)(*CALLS[function](rows, others))
    values = found if isinstance(found, tuple) else (found,)
    assert all(value.dtype == torch.float64 for value in values)
