"""Attack by the error of a noisy copy: a network that stores an image takes noise away from it."""

import torch

from memzoo.auditing.attacks.setting import Outcome, Setting, measure_distance, score_distance

NOISE = 5.0
"""Length of the noise in units of the median ``eps``: half of the usual distance between neighbours."""
COPIES = 4
"""Noisy copies of each image."""


def attack_by_noisy_copy(setting: Setting) -> Outcome:
    """Score each image by the mean distance of the answers to its noisy copies from the image itself."""
    images = setting.images
    # One length for all images, in directions drawn for each copy.
    directions = setting.draw(COPIES, *images.shape).flatten(2)
    noise = directions / directions.norm(dim=2, keepdim=True) * (NOISE * setting.eps.median()).to(images)
    copies = images + noise.reshape(COPIES, *images.shape)
    distances = [measure_distance(setting.evaluate(copy), images) for copy in copies]
    distance = torch.stack(distances).mean(0)
    return Outcome(score_distance(distance), distance < setting.eps)
