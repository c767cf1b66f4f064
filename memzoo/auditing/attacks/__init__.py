"""Attacks on a network that tell its training images from others, or pull them out; one a file."""

from memzoo.auditing.attacks.setting import Outcome, Setting
from memzoo.auditing.attacks.table import ATTACKS, NAMES, Attack, choose_attacks

__all__ = ["ATTACKS", "NAMES", "Attack", "Outcome", "Setting", "choose_attacks"]
