"""What a spectrum says of itself."""

from dataclasses import replace

import pytest
import torch

from memzoo.dynamics.spectra.spectrum import Spectrum


def build_spectrum(radius, error, eigenvalues=None):
    one = torch.ones(len(radius), dtype=torch.float64)
    return Spectrum(
        eigenvalues=one[:, None].to(torch.complex128) if eigenvalues is None else eigenvalues,
        radius=torch.tensor(radius, dtype=torch.float64),
        radius_error=torch.tensor(error, dtype=torch.float64),
        sigma_max=one,
        condition=one,
        transient_growth=None,
        vectors=None,
        method="dense",
        derivative=["verified"] * len(radius),
    )


@pytest.mark.parametrize(
    ("radius", "error", "verdict"),
    [
        (0.75, 0.125, "contracting"),
        (0.75, 0.25, "undecided"),
        (0.75, 0.5, "undecided"),
        (1.0, 0.0, "undecided"),
        (1.25, 0.5, "undecided"),
        (1.25, 0.25, "undecided"),
        (1.25, 0.125, "expanding"),
        (float("nan"), float("nan"), "undecided"),
    ],
)
def test_a_verdict_holds_beyond_the_error_bound(radius, error, verdict):
    assert build_spectrum([radius], [error]).verdict == [verdict]
    assert build_spectrum([0.5, radius], [0.0, error]).verdict == ["contracting", verdict]


def test_moduli_from_one_half_on_are_printed():
    values = torch.tensor([[1.0, -0.5, 0.4375]], dtype=torch.complex128)
    assert str(build_spectrum([1.0], [0.0], values)) == "1, .5, [< 5e-1]"


def test_a_spectrum_that_is_not_known_is_printed():
    nan = float("nan")
    values = torch.tensor([[nan, nan], [1.0, nan]], dtype=torch.complex128)
    assert str(build_spectrum([nan, 1.0], [nan, 0.0], values)) == "[unknown]\n1, [unknown]"


@pytest.mark.parametrize(
    ("word", "verdict"),
    [
        ("verified", "contracting"),
        ("one-sided", "contracting"),
        ("resting", "undecided"),
        ("unverified", "undecided"),
        ("contradicted", "undecided"),
    ],
)
def test_a_verdict_needs_the_derivative_of_the_map(word, verdict):
    assert replace(build_spectrum([0.5, 0.5], [0.0, 0.0]), derivative=["verified", word]).verdict[1] == verdict
