"""Report which training images leak from an autoencoder when it is iterated, with controls beside each claim."""

from memzoo.auditing.checkpoint import load_module, load_self_map
from memzoo.auditing.examination import audit
from memzoo.auditing.folder import check_free
from memzoo.auditing.inputs import AuditData, examples_of, read_data
from memzoo.auditing.report import Audit
from memzoo.auditing.result import Judged

__all__ = [
    "Audit",
    "AuditData",
    "Judged",
    "audit",
    "check_free",
    "examples_of",
    "load_module",
    "load_self_map",
    "read_data",
]
