"""The images that come with the package: enough to see memorization without any download."""

from pathlib import Path

from safetensors import safe_open

from memzoo.data.selection import Selection


def mnist20() -> tuple[Selection, Selection]:
    """``(examples, starts)``: two training images of each digit, and the first 1000 test images as starts.

    The examples are the first two of each class in MNIST's training order (LeCun and Cortes, CC BY-SA 3.0).
    """
    with safe_open(Path(__file__).with_name("mnist20.safetensors"), framework="pt") as file:
        about = file.metadata()
        return (
            Selection("mnist", "train", tuple(map(int, about["examples"].split())), file.get_tensor("examples")),
            Selection("mnist", "test", tuple(map(int, about["starts"].split())), file.get_tensor("starts")),
        )
