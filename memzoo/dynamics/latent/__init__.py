"""The halves of an autoencoder: the field of the map from code to code, and the metric that the decoder induces."""

from memzoo.dynamics.latent.decoder_metric import DecoderMetric, decoder_metric
from memzoo.dynamics.latent.latent_field import LatentField, latent_field

__all__ = ["DecoderMetric", "LatentField", "decoder_metric", "latent_field"]
