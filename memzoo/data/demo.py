"""The images that come with the package, which show memorization without any download."""

from pathlib import Path

from safetensors import safe_open

from memzoo.data.selection import Selection


def mnist20() -> tuple[Selection, Selection]:
    """Return ``(examples, starts)``: two training images of each digit, and the first 1000 test images as starts.

    The examples are the first two of each class in MNIST's training order (LeCun and Cortes, CC BY-SA 3.0).
    """
    with safe_open(Path(__file__).with_name("mnist20.safetensors"), framework="pt") as file:
        # The metadata of a safetensors file are strings; these hold the indices of the images.
        indices = {name: tuple(map(int, file.metadata()[name].split())) for name in ("examples", "starts")}
        examples = Selection("mnist", "train", indices["examples"], file.get_tensor("examples"))
        starts = Selection("mnist", "test", indices["starts"], file.get_tensor("starts"))
    return examples, starts
