"""Every architecture by the name that configurations use."""

from typing import Any

from memzoo.models.autoencoder import Autoencoder
from memzoo.models.convolutional import ConvAutoencoder
from memzoo.models.d1 import D1
from memzoo.models.d2 import D2
from memzoo.models.ensemble import Ensemble
from memzoo.models.fully_connected import FullyConnected
from memzoo.models.linear import LinearAutoencoder
from memzoo.models.one_layer import OneLayerAutoencoder
from memzoo.models.piecewise_linear import PiecewiseLinear
from memzoo.models.timm_autoencoder import TimmAutoencoder
from memzoo.models.unet import UNet
from memzoo.models.wide_relu import WideReLU

ARCHITECTURES: dict[str, type[Autoencoder[Any]]] = {
    "ConvAutoencoder": ConvAutoencoder,
    "D1": D1,
    "D2": D2,
    "Ensemble": Ensemble,
    "FullyConnected": FullyConnected,
    "LinearAutoencoder": LinearAutoencoder,
    "OneLayerAutoencoder": OneLayerAutoencoder,
    "PiecewiseLinear": PiecewiseLinear,
    "TimmAutoencoder": TimmAutoencoder,
    "UNet": UNet,
    "WideReLU": WideReLU,
}
