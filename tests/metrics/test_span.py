import math

import pytest
import torch

from memzoo.metrics import SpanResidual, span_residual


def test_residual_is_the_sine_of_the_angle_to_the_span():
    basis = torch.linalg.qr(torch.randn(10, 3, dtype=torch.float64)).Q
    inside, outside = basis[:, 0], basis[:, 2]
    examples = torch.stack([inside, inside + basis[:, 1]])
    angles = torch.tensor([0.0, 0.3, math.pi / 2], dtype=torch.float64)
    outputs = 7 * (angles.cos()[:, None] * inside + angles.sin()[:, None] * outside)
    torch.testing.assert_close(span_residual(outputs, examples), angles.sin(), rtol=0, atol=1e-12)


def test_dependent_examples_and_zero_outputs():
    examples = torch.tensor([[1.0, 0, 0], [2, 0, 0], [0, 0, 0]])
    assert span_residual(torch.tensor([[5.0, 0, 0], [0, 1, 0], [0, 0, 0]]), examples).tolist() == [0, 1, 0]


def test_metric_is_the_mean_over_batches_and_merges_like_processes():
    examples, outputs = torch.randn(2, 1, 3, 3), torch.randn(8, 1, 3, 3)
    expected = span_residual(outputs, examples).mean()
    metric, other = SpanResidual(examples), SpanResidual(examples)
    metric.update(outputs[:3])
    other.update(outputs[3:])
    metric.merge_state(other)
    torch.testing.assert_close(metric.compute(), expected)


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric SpanResidual was called before")
def test_before_the_first_row_it_is_nan():
    assert SpanResidual(torch.ones(1, 2)).compute().isnan()


def test_shapes():
    with pytest.raises(ValueError, match=r"outputs and examples must be points of one space"):
        span_residual(torch.zeros(1, 3), torch.zeros(1, 4))
