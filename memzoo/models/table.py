"""Every architecture by the name that configurations use."""

from typing import Any

from memzoo.models.architectures import SINGLE_NETWORKS
from memzoo.models.base import Autoencoder
from memzoo.models.ensembles import Ensemble

ARCHITECTURES: dict[str, type[Autoencoder[Any]]] = dict(sorted({**SINGLE_NETWORKS, "Ensemble": Ensemble}.items()))
