"""Test lower bounds on epsilon against closed forms, and on guesses of a known epsilon."""

import math

import pytest
import torch

from memzoo.auditing.statistics import binomial_tail, one_run_epsilon
from memzoo.auditing.statistics.one_run_epsilon import ASSUMPTIONS, probability_of_guesses


def respond(images, epsilon):
    """Return coins, and scores that reveal each one as randomised response of this epsilon does."""
    coins = torch.rand(images) < 0.5
    is_true = torch.rand(images) < 1 / (1 + math.exp(-epsilon))
    return torch.where(is_true, coins, ~coins).double(), coins


def test_guesses_that_are_all_right_bound_epsilon_by_a_power():
    # p^r = 1 - confidence with p = e^epsilon / (1 + e^epsilon)
    for images, confidence in ((20, 0.95), (200, 0.9)):
        scores = torch.arange(float(images))
        found = one_run_epsilon(scores, scores >= images / 2, confidence=confidence, guesses=(1.0,))
        p = (1 - confidence) ** (1 / images)
        assert found.epsilon == pytest.approx(math.log(p / (1 - p)))
        assert (found.correct, found.guesses, found.images) == (images, images, images)


def test_without_delta_the_probability_is_a_binomial_tail():
    for epsilon in (0.0, 0.7, 5.0):
        wanted = binomial_tail(14, 20, math.exp(epsilon) / (1 + math.exp(epsilon)))
        assert probability_of_guesses(14, 20, 50, epsilon=epsilon, delta=0.0) == pytest.approx(wanted)


def test_delta_adds_the_largest_of_all_shifts():
    v, r, m, epsilon, delta = 14, 20, 50, 1.0, 1e-4
    p = 1 / (1 + math.exp(-epsilon))
    beta = [binomial_tail(u, r, p) for u in range(v + 1)]
    added = max((beta[v - i] - beta[v]) / i for i in range(1, v + 1))
    found = probability_of_guesses(v, r, m, epsilon=epsilon, delta=delta)
    assert found == pytest.approx(beta[v] + 2 * m * delta * added)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (1.0, 0.0), (4.0, 1e-5)])
def test_bounds_on_guesses_of_a_known_epsilon_exceed_it_as_rarely_as_they_say(epsilon, delta):
    runs, images = 200, 200
    bounds = []
    for seed in range(runs):
        scores, coins = respond(images, epsilon)
        bounds.append(one_run_epsilon(scores, coins, delta=delta, seed=seed).epsilon)
    exceeded = sum(bound > epsilon for bound in bounds) / runs
    assert exceeded <= 0.05 + 2 * (0.05 * 0.95 / runs) ** 0.5
    # many guesses come close to the truth
    scores, coins = respond(20_000, epsilon)
    assert one_run_epsilon(scores, coins, delta=0.0).epsilon > 0.85 * epsilon - 1e-9


def test_equal_scores_do_not_follow_the_order_of_the_images():
    is_member = torch.arange(1000) < 500
    found = one_run_epsilon(torch.zeros(1000), is_member)
    assert found.epsilon < 0.2


def test_more_tests_and_a_larger_delta_can_only_lower_the_bound():
    scores, coins = respond(500, 3.0)
    plain = one_run_epsilon(scores, coins)
    assert one_run_epsilon(scores, coins, tests=10).epsilon < plain.epsilon
    assert one_run_epsilon(scores, coins, delta=1e-3).epsilon < plain.epsilon
    assert one_run_epsilon(scores, coins, confidence=0.99).epsilon < plain.epsilon
    assert plain.assumptions == ASSUMPTIONS
    assert "each image of both groups was put into the training set, or left out, by a fair coin" in str(plain)


def test_bounds_refuse_what_they_cannot_use():
    coins = torch.tensor([True, False])
    with pytest.raises(ValueError, match="needed are 0 <= delta < 1"):
        one_run_epsilon(torch.ones(2), coins, delta=1.0)
    with pytest.raises(ValueError, match="guesses are shares of the images"):
        one_run_epsilon(torch.ones(2), coins, guesses=(0.5, 2.0))
    with pytest.raises(ValueError, match="one membership a score"):
        one_run_epsilon(torch.ones(3), coins)
    assert one_run_epsilon(torch.ones(1), torch.ones(1, dtype=torch.bool)).epsilon == 0
