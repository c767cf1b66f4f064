"""One quantity a file: the function and its torchmetrics class."""

from memzoo.metrics.span import SpanResidual, span_residual

__all__ = ["SpanResidual", "span_residual"]
