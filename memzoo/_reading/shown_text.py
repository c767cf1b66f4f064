"""Show a text that a stranger wrote in a message: of limited length, and without characters that steer a terminal."""

LONGEST = 400
"""Characters of a text in a message."""


def show_text(text: str, most: int = LONGEST) -> str:
    """Return the beginning of a text; if it holds control characters or half surrogates, with escapes for them."""
    beginning = text[:most]
    shown = beginning if beginning.isprintable() else ascii(beginning)[1:-1][: 2 * most]
    return shown if len(text) <= most else f"{shown}..."


def show_texts(texts: list[str], most: int = 5) -> str:
    """Return the first texts of a list, each in quotation marks, and how many more there are."""
    shown = ", ".join(f"'{show_text(text, 100)}'" for text in texts[:most])
    return shown if len(texts) <= most else f"{shown} and {len(texts) - most} more"
