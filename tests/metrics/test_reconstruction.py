import math

import pytest
import torch
from draws import normal
from torch.testing import assert_close

from memzoo.metrics.reconstruction import ReconstructionError, reconstruction_error


def test_relative_error_of_a_scaled_copy():
    x = normal(5, 2, 3)
    factor = torch.tensor([1.0, 0.0, -1.0, 3.0, 1.01], dtype=torch.float64)
    error = reconstruction_error(factor[:, None, None] * x, x)
    assert_close(error, (factor - 1).abs())


def test_mse_is_that_of_torch():
    y, x = normal(2, 6, 1, 4, 4)
    rows = reconstruction_error(y, x, kind="mse")
    expected = torch.nn.functional.mse_loss(y, x).item()
    assert rows.mean().item() == pytest.approx(expected, rel=1e-14)
    expected = torch.nn.functional.mse_loss(y[2], x[2]).item()
    assert rows[2].item() == pytest.approx(expected, rel=1e-14)


def test_rotating_space_and_permuting_rows():
    rotation = torch.linalg.qr(normal(5, 5)).Q
    y, x = normal(2, 7, 5)
    order = torch.randperm(7)
    for kind in ("relative", "mse"):
        expected = reconstruction_error(y, x, kind=kind)
        assert_close(reconstruction_error(y @ rotation, x @ rotation, kind=kind), expected)
        found = reconstruction_error(y[order], x[order], kind=kind)
        assert torch.equal(found, expected[order])


def test_float16_is_squared_in_float64():
    # 300^2 overflows half precision
    x = torch.zeros(1, 4, dtype=torch.float16)
    y = torch.full((1, 4), 300.0, dtype=torch.float16)
    assert reconstruction_error(y, x, kind="mse").item() == 90000
    assert reconstruction_error(x, 200 * y).item() == 1  # so does the norm of 60000 four times


def test_zero_inputs_and_outputs_that_are_not_finite():
    x = torch.tensor([[0.0, 0], [0, 0], [1, 0], [1, 0]])
    y = torch.tensor([[0.0, 0], [0, 1], [torch.nan, 0], [torch.inf, 0]])
    error = reconstruction_error(y, x).tolist()
    assert error[:2] == [0, torch.inf]
    assert math.isnan(error[2])
    assert error[3] == torch.inf


@pytest.mark.parametrize("kind", ["relative", "mse"])
def test_metric_averages(kind):
    y, x = torch.randn(2, 7, 2, 3)
    metric = ReconstructionError(kind=kind)
    metric.update(y[:3], x[:3])
    metric.update(y[3:], x[3:])
    expected = reconstruction_error(y, x, kind=kind).mean()
    assert_close(metric.compute(), expected)


def test_errors():
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match="kind must be 'relative' or 'mse', got 'mae'"):
        reconstruction_error(x, x, kind="mae")
    with pytest.raises(ValueError, match="kind must be 'relative' or 'mse', got 'mae'"):
        ReconstructionError(kind="mae")
    with pytest.raises(ValueError, match=r"batches \(B, \*shape\) of one shape, row by row, got \(3,\) and \(3,\)"):
        reconstruction_error(torch.ones(3), torch.ones(3))
    with pytest.raises(TypeError, match=r"must be floating point, got torch\.uint8"):
        reconstruction_error(x, x.byte())
