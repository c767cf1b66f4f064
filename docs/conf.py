"""Sphinx configuration."""

from pathlib import Path

import memzoo

project = "memzoo"
author = "The memzoo developers"
copyright = "2026, The memzoo developers"
release = version = memzoo.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinxcontrib.bibtex",
]
bibtex_bibfiles = ["refs.bib"]
myst_enable_extensions = ["dollarmath"]
html_theme = "furo"
html_title = "memzoo"
html_static_path = ["_static"]
exclude_patterns = ["_build", "_generated"]

autodoc_typehints = "none"  # the signature of a jaxtyping annotation is long; shapes are in the text
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # a class is documented where it is defined and where it is re-exported
nitpicky = False


def write_zoo_table(app) -> None:
    """The table of the zoo, from the registry."""
    lines = ["| id | figures | network | training images | claim |", "| --- | --- | --- | --- | --- |"]
    for entry in map(memzoo.info, memzoo.list_models()):
        about = entry.examples
        count = len(about.positions()) * about.count
        facts = [fact for fact in entry.facts if fact.paper is not None and fact.ours is not None]
        claim = "; ".join(f"{fact.name}: {fact.ours:.3g} (paper: {fact.paper})" for fact in facts[:3]).replace(
            "|", "\\|"
        )
        where = f"[`{entry.id}`](https://huggingface.co/{entry.hub.repository})" if entry.hub else f"`{entry.id}`"
        figures = ", ".join(entry.figures)
        lines.append(f"| {where} | {figures} | {entry.title.split(':')[0]} | {count} of {about.dataset} | {claim} |")
    target = Path(app.srcdir) / "_generated/zoo.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", write_zoo_table)
