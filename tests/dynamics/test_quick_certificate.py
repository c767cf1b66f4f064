"""The quick way to certificates."""

import inspect

from memzoo.dynamics import certify
from memzoo.dynamics.attractors import certify_quickly


def test_both_ways_iterate_as_long_when_nothing_is_said():
    ours = inspect.signature(certify_quickly).parameters
    theirs = inspect.signature(certify).parameters
    assert ours["steps"].default == theirs["steps"].default
