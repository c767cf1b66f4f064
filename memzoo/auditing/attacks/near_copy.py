"""Attack by a near-copy: whoever has a changed version of an image lets the network change it back."""

import torch
from torch import Tensor

from memzoo.auditing.attacks.setting import Outcome, Setting, measure_distance, score_distance
from memzoo.dynamics import iterate

SMALLEST = 4
"""Least height and width of an image that is shifted."""
FADED = 0.2
"""Share of the mean image in a near-copy of a point that is no image."""


def attack_by_near_copy(setting: Setting) -> Outcome:
    """Score each image by how much nearer to it the orbit of its near-copy ends than it begins."""
    images = setting.images
    copies = make_near_copies(images.reshape(-1, *setting.shape)).reshape(images.shape)
    ends = iterate(setting.f, copies, setting.steps).points
    before = measure_distance(copies, images)
    after = measure_distance(ends, images)
    # An image that the change leaves as it is says nothing.
    share = torch.where(before > 0, after / before, torch.inf)
    return Outcome(score_distance(share), (after < setting.eps) & (before >= setting.eps))


def make_near_copies(images: Tensor) -> Tensor:
    """Shift images by one pixel; fade points that are none towards their mean."""
    if images.ndim > 2 and min(images.shape[-2:]) >= SMALLEST:
        return images.roll(1, -1)
    return images + FADED * (images.mean(0) - images)
