"""Print a command of the README, so that CI runs the README's own text and the two cannot drift.

python3.11 .ci/readme.py test          the block below `<!-- command: test -->`
python3.11 .ci/readme.py demo --last   only what follows the last `&&`: the job without its install
"""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
_BLOCK = re.compile(
    r"^<!--[ \t]*command:[ \t]*(?P<name>[\w-]+)[ \t]*-->[ \t]*\n"
    r"\s*```sh[ \t]*\n(?P<text>.*?)\n```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_MARKER = re.compile(r"<!--[ \t]*command:[ \t]*([\w-]+)")


def commands(markdown: str) -> dict[str, str]:
    """Return the text of every marked block by its name.

    Raises:
        ValueError: a marker stands without a block directly below it, or twice.
    """
    found = {block["name"]: block["text"].strip() for block in _BLOCK.finditer(markdown)}
    markers = _MARKER.findall(markdown)
    if sorted(markers) != sorted(found):
        raise ValueError(
            f"every marker stands once, with a ```sh block directly below it: "
            f"markers {sorted(markers)}, blocks {sorted(found)}"
        )
    return found


def main(argv: list[str]) -> int:
    """Print the block named first in argv; exit code 2 where there is none."""
    known = commands(README.read_text(encoding="utf-8"))
    name, *options = argv or [""]
    if name not in known or options not in ([], ["--last"]):
        print(f"usage: readme.py {{{','.join(sorted(known))}}} [--last]", file=sys.stderr)
        return 2
    print(known[name].rsplit("&&", 1)[-1].strip() if options else known[name])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
