"""Attack by iteration: orbits of points that were chosen without regard to the images may end at some of them."""

from torch import Tensor

from memzoo.auditing.attacks.setting import Outcome, Setting, score_distance
from memzoo.dynamics import iterate, nearest


def attack_by_iteration(setting: Setting) -> Outcome:
    """Score each image by its distance from the nearest end of an orbit, in units of its ``eps``."""
    return judge_ends(setting, iterate(setting.f, setting.starts, setting.steps).points)


def judge_ends(setting: Setting, ends: Tensor) -> Outcome:
    """Compare each image with the nearest of the points that an attack found without the images."""
    distance = nearest(setting.images, ends).distance.to(setting.eps)
    return Outcome(score_distance(distance / setting.eps), distance < setting.eps)
