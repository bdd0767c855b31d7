"""Take the pictures of a page for the docs: `python tests/screenshots.py PAGE.html docs/pictures`.

Needs Chromium, as the tests in a browser do, and pdftoppm (Debian's poppler-utils) for the paper.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1100, 1150
COLOURS = 128  # of a stored picture: an eighth of its bytes, and no difference that one sees


def main(page: Path, folder: Path) -> None:
    """Write page-light, page-dark, page-images and page-print as PNG files."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        for scheme in ("dark", "light"):
            size = {"width": WIDTH, "height": HEIGHT}
            opened = browser.new_context(color_scheme=scheme, viewport=size).new_page()
            opened.goto(page.resolve().as_uri())
            keep(opened.screenshot(), folder / f"page-{scheme}.png")
        keep(opened.locator("#images").screenshot(), folder / "page-images.png")
        with tempfile.TemporaryDirectory() as scratch:
            paper = Path(scratch) / "page.pdf"
            opened.pdf(path=paper, format="A4")
            first = ["pdftoppm", "-r", "80", "-png", "-singlefile", str(paper), f"{scratch}/page"]
            subprocess.run(first, check=True)
            keep(Path(f"{scratch}/page.png").read_bytes(), folder / "page-print.png")
        browser.close()


def keep(content: bytes, path: Path) -> None:
    """Write a picture with few colours."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
