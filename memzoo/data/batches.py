"""Full-batch training as a DataLoader."""

from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


def full_batches(images: Float[Tensor, "n *shape"], *, steps_per_epoch: int = 1) -> DataLoader:
    """All images as one batch, ``steps_per_epoch`` times an epoch.

    Interpolating a few images takes thousands of full-batch steps; an epoch of many of them keeps the framework's work
    at the end of each epoch (validation, callbacks, checkpoints) from outweighing the training.
    """
    everything = list(range(len(images)))
    return DataLoader(TensorDataset(images), batch_sampler=[everything] * steps_per_epoch)
