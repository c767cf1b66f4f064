"""Report which training images leak from an autoencoder when it is iterated, with controls beside each claim."""

from memzoo.auditing.battery import Battery, BatteryOptions
from memzoo.auditing.battery_result import AttackResult
from memzoo.auditing.checkpoint import load_module
from memzoo.auditing.examination import audit
from memzoo.auditing.folder import check_free
from memzoo.auditing.importing import load_self_map
from memzoo.auditing.inputs import AuditData, draw_noise, examples_of, read_data
from memzoo.auditing.report import Audit
from memzoo.auditing.result import Judged
from memzoo.auditing.value_range import Scaling, find_scaling, find_shape

__all__ = [
    "AttackResult",
    "Audit",
    "AuditData",
    "Battery",
    "BatteryOptions",
    "Judged",
    "Scaling",
    "audit",
    "check_free",
    "draw_noise",
    "examples_of",
    "find_scaling",
    "find_shape",
    "load_module",
    "load_self_map",
    "read_data",
]
