"""Print the section of one version in CHANGELOG.md: the text of its release.

::

    python tools/changelog_section.py 0.1.0        # or v0.1.0, as a tag has it
"""

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\d{4}-\d{2}-\d{2}))?\s*$", re.MULTILINE)


def cut_section(text: str, version: str) -> str:
    """Cut the section of a version out of a changelog that follows Keep a Changelog, without its heading.

    Raises:
        ValueError: There is no such version, it has no date, or nothing is written about it.
    """
    version = version.removeprefix("v")
    headings = list(HEADING.finditer(text))
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        if heading["version"] != version:
            continue
        if heading["date"] is None:
            raise ValueError(f"version {version} has no date in the changelog; write '## [{version}] - YYYY-MM-DD'.")
        body = text[heading.end() : following.start() if following else len(text)].strip()
        if not body:
            raise ValueError(f"the changelog says nothing about version {version}; write what it adds.")
        return body
    known = ", ".join(heading["version"] for heading in headings) or "none"
    raise ValueError(f"the changelog has no version {version}, only {known}; give it a heading of its own.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give one version: python tools/changelog_section.py 0.1.0")
    try:
        print(cut_section(CHANGELOG.read_text(encoding="utf-8"), sys.argv[1]))
    except ValueError as error:
        sys.exit(str(error))
