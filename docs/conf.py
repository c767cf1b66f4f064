"""Sphinx configuration."""

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
exclude_patterns = ["_build"]

autodoc_typehints = "none"  # the signature of a jaxtyping annotation is long; shapes are in the text
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # a class is documented where it is defined and where it is re-exported
nitpicky = False
