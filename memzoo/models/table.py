"""The table of all architectures, by the names that configurations use."""

from typing import Any

from memzoo.models.architectures import SINGLE_NETWORKS
from memzoo.models.base import Autoencoder
from memzoo.models.ensembles import Ensemble

# An ensemble looks its members up in SINGLE_NETWORKS, which therefore cannot hold the ensemble itself.
ARCHITECTURES: dict[str, type[Autoencoder[Any]]] = dict(sorted({**SINGLE_NETWORKS, "Ensemble": Ensemble}.items()))
