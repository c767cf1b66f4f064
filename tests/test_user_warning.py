"""Warnings name the line of the user's code."""

import inspect
import warnings

import pytest
import torch

from memzoo.dynamics import certify, default_eps, example_eps, radius_bracket, recovery_curve, spectrum

X = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
TWICE = torch.cat([X, X[:1]])


def hide(x):
    return 0.5 * x + 0.2 * x.detach()


def outside_of_torch_func(x):
    return torch.cat([row * 0.5 if float(row.detach().sum()) > -9 else row for row in x.split(1)])


def stop_beside(x):
    if (x > 1).any():
        raise ValueError("brightness above 1")
    return 0.5 * x


CALLS = {
    "spectrum": lambda: spectrum(hide, X),
    "certify": lambda: certify(hide, X),
    "default_eps": lambda: default_eps(TWICE),
    "example_eps": lambda: example_eps(TWICE),
    "recovery_curve": lambda: recovery_curve(lambda x: 0.5 * x, X, X, 3, eps=1e-9),
    "outside": lambda: spectrum(stop_beside, X / X.max()),
    "half": lambda: certify(lambda x: 0.5 * x, X.bfloat16(), eps=1.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_warning_names_the_line_that_called(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CALLS[name]()
    assert caught
    line = CALLS[name].__code__.co_firstlineno
    assert {(one.filename, one.lineno) for one in caught} == {(__file__, line)}


def test_a_function_that_is_made_anew_is_announced_once():
    class Old(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for share in (0.3, 0.5, 0.7):
            spectrum(lambda x, share=share: share * Old.apply(x), X)
    assert len(caught) == 1
    line = inspect.currentframe().f_code.co_firstlineno
    assert caught[0].filename == __file__
    assert caught[0].lineno > line


def test_a_warning_within_a_gradient_names_the_line_too():
    with pytest.warns(UserWarning, match="exact duplicates") as caught:
        certify(lambda x: 0.5 * x, TWICE, eps=None)
    assert {one.filename for one in caught} == {__file__}
    lower, _ = radius_bracket(lambda x: 0.5 * x, X)
    assert (lower > 0.4).all()
