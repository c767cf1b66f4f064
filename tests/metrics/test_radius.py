import pytest
import torch
from draws import normal
from torch.testing import assert_close

from memzoo.dynamics import spectrum
from memzoo.errors import NonFiniteError
from memzoo.metrics.radius import SpectralRadius, spectral_radius


def test_radius_of_matrices_with_known_eigenvalues():
    values = torch.tensor([[0.3, -0.9, 0.1], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    change = normal(3, 3)
    matrices = change @ values.diag_embed() @ torch.linalg.inv(change)
    radius, error = spectral_radius(matrices)
    assert ((radius - values.abs().amax(1)).abs() <= error + 1e-13).all()
    assert_close(radius, values.abs().amax(1))


def test_it_is_the_radius_of_the_map():
    matrices = normal(2, 6, 6)
    for matrix, radius in zip(matrices, spectral_radius(matrices)[0], strict=True):
        found = spectrum(lambda x, a=matrix: x @ a.mT, torch.zeros(1, 6)).radius[0]
        assert_close(found, radius)


def test_the_bound_covers_a_defective_matrix():
    # a Jordan block of 12 in another basis: rounding moves its eigenvalue 0.5 by some eps^(1/12)
    jordan = 0.5 * torch.eye(12, dtype=torch.float64) + torch.ones(11, dtype=torch.float64).diag(1)
    basis = torch.linalg.qr(normal(12, 12)).Q
    radius, error = spectral_radius((basis @ jordan @ basis.mT)[None])
    assert 1e-3 < (radius - 0.5).abs() <= error


RADII = torch.tensor([0.2, 0.99, 1.0, 1.5, 0.31])
ERRORS = torch.tensor([0.0, 0.02, 0.0, 0.0, 0.1])


@pytest.mark.parametrize(("reduce", "expected"), [("max", 1.5), ("mean", 0.8), ("contracting", 0.4)])
def test_reductions(reduce, expected):
    metric = SpectralRadius(reduce=reduce)
    for rows in (slice(0, 2), slice(2, 2), slice(2, 5)):
        metric.update(RADII[rows], ERRORS[rows])
    assert metric.compute().item() == pytest.approx(expected)


def test_contracting_is_the_verdict_of_the_spectrum():
    matrices = [torch.eye(2), 0.5 * torch.eye(2), 3 * torch.eye(2)]
    metric = SpectralRadius(reduce="contracting")
    verdicts = []
    for matrix in matrices:
        found = spectrum(lambda x, a=matrix: x @ a, torch.zeros(1, 2))
        verdicts += found.verdict
        metric.update(found.radius, found.radius_error)
    assert verdicts == ["undecided", "contracting", "expanding"]
    assert metric.compute().item() == pytest.approx(1 / 3)


def test_errors_may_be_left_out():
    metric = SpectralRadius(reduce="contracting")
    metric.update(RADII)
    assert metric.compute().item() == pytest.approx(0.6)


def test_nan_is_not_contracting_and_makes_the_others_nan():
    radius = torch.tensor([0.5, torch.nan])
    for reduce in ("max", "mean"):
        metric = SpectralRadius(reduce=reduce)
        metric.update(radius)
        metric.update(RADII)
        assert metric.compute().isnan()
    metric = SpectralRadius(reduce="contracting")
    metric.update(radius, torch.zeros(2))
    assert metric.compute() == 0.5


def test_a_smaller_radius_and_a_larger_share_are_better():
    found = [SpectralRadius(reduce=r).higher_is_better for r in ("max", "mean", "contracting")]
    assert found == [False, False, True]
    found = [SpectralRadius(reduce=r).plot_upper_bound for r in ("max", "mean", "contracting")]
    assert found == [None, None, 1.0]


def test_errors():
    metric = SpectralRadius()
    with pytest.raises(ValueError, match="reduce must be 'max', 'mean' or 'contracting', got 'median'"):
        SpectralRadius(reduce="median")
    with pytest.raises(ValueError, match=r"vectors of one length, got shapes \(1, 1\) and \(1, 1\)"):
        metric.update(torch.ones(1, 1))
    with pytest.raises(ValueError, match=r"vectors of one length, got shapes \(2,\) and \(3,\)"):
        metric.update(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="must be >= 0, the smallest are -2 and 0; pass moduli"):
        metric.update(torch.tensor([-2.0, 1]))
    with pytest.raises(ValueError, match="must be >= 0, the smallest are 1 and -1; pass moduli"):
        metric.update(torch.ones(2), -torch.ones(2))
    with pytest.raises(ValueError, match=r"square \(B, d, d\), got shape \(2, 2\)"):
        spectral_radius(torch.eye(2))
    with pytest.raises(ValueError, match=r"square \(B, d, d\), got shape \(1, 2, 3\)"):
        spectral_radius(torch.ones(1, 2, 3))
    with pytest.raises(NonFiniteError, match="matrices holds NaN"):
        spectral_radius(torch.full((1, 2, 2), torch.nan))
