"""Which model cards run their example as a test: of cards that show the same, that of the smallest network."""

import re
from pathlib import Path

EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def find_repeated_examples(folder: Path) -> list[str]:
    """Return the folders of the checkpoints whose card shows what the card of a smaller network shows.

    Two examples are the same if they differ in the name of the checkpoint and in lines that load kept steps, which have
    tests of their own. What an example would compute of the larger network, its facts are made of, and all facts are
    tested.

    Args:
        folder: The folder of all checkpoints.
    """
    shown: dict[str, list[tuple[int, str]]] = {}
    for card in folder.glob("*/README.md"):
        name = card.parent.name
        lines = "".join(EXAMPLE.findall(card.read_text())).replace(name, "NAME").splitlines()
        example = "\n".join(line for line in lines if "step=" not in line)
        size = (card.parent / "model.safetensors").stat().st_size
        shown.setdefault(example, []).append((size, name))
    return [name for cards in shown.values() for _, name in sorted(cards)[1:]]
