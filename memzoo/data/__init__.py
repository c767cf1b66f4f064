"""The small training sets, each image known by dataset, index and hash."""

from memzoo.data.batches import full_batches
from memzoo.data.cifar10 import cifar10, read_binary_batch
from memzoo.data.demo import mnist20
from memzoo.data.drawn import DISTRIBUTIONS, drawn
from memzoo.data.mnist import mnist
from memzoo.data.selection import Selection, image_sha256, pixels, select
from memzoo.data.starts import gaussian_noise, white_squares

__all__ = [
    "DISTRIBUTIONS",
    "Selection",
    "cifar10",
    "drawn",
    "full_batches",
    "gaussian_noise",
    "image_sha256",
    "mnist",
    "mnist20",
    "pixels",
    "read_binary_batch",
    "select",
    "white_squares",
]
