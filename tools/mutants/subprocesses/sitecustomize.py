"""Run by every Python that a test starts while a mutant is served: the mutant is served there too."""

import os

if "MEMZOO_MUTANT" in os.environ:
    from pathlib import Path

    from tools.mutants.serving import serve

    root, path, number = os.environ["MEMZOO_MUTANT"].split("|")
    serve(Path(root), path, int(number))
