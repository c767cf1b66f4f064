"""Attack by local dimension: few directions survive around an image that is stored, more around others."""

from memzoo.auditing.attacks.setting import Outcome, Setting
from memzoo.dynamics import local_dimension
from memzoo.dynamics.spectra import Jacobians
from memzoo.errors import AuditInputError

WIDEST = 1024
"""Most values at the narrowest place of a network whose eigenvalues are all computed; the time grows as the cube."""


def attack_by_dimension(setting: Setting) -> Outcome:
    """Score each image by the number of eigenvalues of the Jacobian above 1/2, fewer for members."""
    width = Jacobians(setting.f, setting.images[:1], None, 2**30).width
    if width > WIDEST:
        raise AuditInputError(
            f"all eigenvalues are computed up to a width of {WIDEST}, and the network is {width} values wide everywhere"
        )
    found = local_dimension(setting.f, setting.images)
    # The true number is from the count to the count with the undecided ones; their middle favours neither.
    return Outcome(-(found.count + found.undecided / 2).double())
