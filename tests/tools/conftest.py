"""The tools of the repository are not part of the package: they are imported from its root."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
