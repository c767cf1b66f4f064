"""Attack by reconstruction error: a network usually reconstructs its training images better than others.

Yeom, Giacomelli, Fredrikson, Jha: Privacy risk in machine learning, 2018; beside a reference network, which knows how
hard an image is: Watson, Guo, Cormode, Sablayrolles: On the importance of difficulty calibration, 2022.
"""

import torch

from memzoo.auditing.attacks.setting import BATCH, Outcome, Setting, measure_distance, score_distance
from memzoo.errors import AuditInputError


def attack_by_error(setting: Setting) -> Outcome:
    """Score each image by its reconstruction error, L2."""
    return Outcome(score_distance(measure_distance(setting.evaluate(setting.images), setting.images)))


def attack_by_relative_error(setting: Setting) -> Outcome:
    """Score each image by its error as a share of that of the reference network."""
    if setting.reference is None:
        raise AuditInputError("no reference network was given")
    reference = setting.reference
    answers = torch.cat([reference(batch) for batch in setting.images.split(BATCH)])
    easy = score_distance(measure_distance(answers, setting.images))
    relative = attack_by_error(setting).scores - easy
    # Where both errors vanish, the image says nothing.
    return Outcome(torch.where(relative.isnan(), 0.0, relative))
