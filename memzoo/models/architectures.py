"""Every architecture by the name that configurations use."""

from memzoo.models.autoencoder import Autoencoder
from memzoo.models.d1 import D1
from memzoo.models.fully_connected import FullyConnected

ARCHITECTURES: dict[str, type[Autoencoder]] = {
    "D1": D1,
    "FullyConnected": FullyConnected,
}
