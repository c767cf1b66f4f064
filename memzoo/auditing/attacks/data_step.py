"""Attack by a data step: whoever has part of an image lets the network complete it (Abitbul and Dar, 2024)."""

from collections.abc import Callable

import torch
from torch import Tensor

from memzoo.auditing.attacks.setting import Outcome, Setting, measure_distance, score_distance
from memzoo.dynamics import recover


def build_data_step(missing: float, *, blind: bool) -> Callable[[Setting], Outcome]:
    """Return the attack for a share of missing pixels, whose places the attacker knows unless it is ``blind``."""

    def attack(setting: Setting) -> Outcome:
        known = draw_known(setting, missing)
        damaged = torch.where(known, setting.images, 0.0)
        found = recover(setting.f, damaged, None if blind else known, blind=blind, steps=setting.steps)
        distance = measure_distance(found.images, setting.images)
        return Outcome(score_distance(distance / setting.eps), distance < setting.eps)

    return attack


def draw_known(setting: Setting, missing: float) -> Tensor:
    """Draw which pixels of each image are known, in the shape of the points; all channels of a pixel go together."""
    count = len(setting.images)
    shape = setting.shape
    of_pixels = (1, *shape[1:]) if len(shape) > 2 else shape
    generator = torch.Generator().manual_seed(setting.seed)
    keys = torch.rand((count, *of_pixels), generator=generator)
    known = keys >= missing
    # One pixel of each image is known in any case.
    known |= keys >= keys.flatten(1).amax(1).reshape(-1, *[1] * len(of_pixels))
    return known.expand(count, *shape).reshape(setting.images.shape).to(setting.images.device)
