"""Read the templates of pages and cards: texts with places for values, in files beside the code that fills them in."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape


def read_templates(folder: Path) -> Environment:
    """Make the templates of a folder known by the names of their files.

    Values that are filled into ``NAME.html.jinja2`` are escaped, so that the text of a user is shown and never taken
    for HTML. Values in other templates, such as the Markdown of a model card, stay as they are.
    """
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(("html.jinja2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
