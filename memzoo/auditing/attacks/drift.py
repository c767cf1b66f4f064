"""Attack by drift: the network moves away from an image that it does not store, and stays beside one that it stores."""

from memzoo.auditing.attacks.setting import Outcome, Setting, measure_distance, score_distance

STEPS = 10
"""Iterations; more of them forget where an orbit began."""


def attack_by_drift(setting: Setting) -> Outcome:
    """Score each image by how far its own orbit is from it after a few steps."""
    points = setting.images
    for _ in range(STEPS):
        points = setting.evaluate(points)
    return Outcome(score_distance(measure_distance(points, setting.images)))
