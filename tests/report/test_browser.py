"""The page in a real browser: it renders, on a phone as well, in light and dark, and prints."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.report.conftest import KINDS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium, chromium-browser or google-chrome on the path"
)

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--allow-file-access-from-files",
)
# A window cannot be narrower than about 500 pixels; a frame can, and is laid out like a window of its own.
FRAME = '<iframe src="REPORT" style="width:WIDTHpx;height:800px;border:0"></iframe>'
PROBE = """<body style="margin:0">FRAMES<pre id="out"></pre>
<script>onload = () => {
  const look = frame => {
    const page = frame.contentDocument, root = page.documentElement, images = [...page.images];
    return {
      title: page.title, width: root.clientWidth, needed: root.scrollWidth, images: images.length,
      broken: images.filter(i => !i.naturalWidth).length, dark: images.filter(i => i.currentSrc !== i.src).length,
      tables: [...page.querySelectorAll("table")].map(t => t.tBodies[0].textContent.trim().length),
      background: getComputedStyle(page.body).backgroundColor,
    };
  };
  document.getElementById("out").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(look));
};</script>"""
WIDTHS = (360, 390, 1200)


def browse(tmp_path, *arguments) -> str:
    profile = tmp_path / "profile"
    command = [CHROMIUM, *QUIET, f"--user-data-dir={profile}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def looked_at(folder: Path, pages: dict[tuple[str, int], Path], *arguments: str) -> dict[tuple[str, int], dict]:
    """What a browser makes of pages in frames of a width, all in one window: starting it takes the longest."""
    path = folder / "probe.html"
    frames = [FRAME.replace("REPORT", page.as_uri()).replace("WIDTH", str(key[1])) for key, page in pages.items()]
    path.write_text(PROBE.replace("FRAMES", "\n".join(frames)), encoding="utf-8")
    dom = browse(folder, "--window-size=1300,900", *arguments, "--dump-dom", path.as_uri())
    return dict(zip(pages, json.loads(re.search(r'<pre id="out">(.+?)</pre>', dom)[1]), strict=True))


@pytest.fixture(scope="module")
def in_light(page_of, tmp_path_factory):
    pages = {(kind, width): page_of(kind) for kind in KINDS for width in WIDTHS}
    return looked_at(tmp_path_factory.mktemp("light"), pages)


@pytest.fixture(scope="module")
def in_dark(page_of, tmp_path_factory):
    pages = {(kind, WIDTHS[-1]): page_of(kind) for kind in KINDS}
    return looked_at(tmp_path_factory.mktemp("dark"), pages, "--blink-settings=preferredColorScheme=0")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_renders_and_never_scrolls_sideways(in_light, kind, width):
    found = in_light[kind, width]
    assert found["title"].startswith("Unlearning report: ")
    assert found["width"] == width
    assert found["needed"] <= width
    assert found["images"] > 5
    assert found["broken"] == 0
    assert found["dark"] == 0
    assert len(found["tables"]) >= 6
    assert min(found["tables"]) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_dark_pages_show_dark_figures(in_dark, kind):
    found = in_dark[kind, WIDTHS[-1]]
    assert found["dark"] == found["images"]
    assert found["background"] == "rgb(17, 22, 29)"


def test_the_screen_is_not_empty(any_page, tmp_path):
    shot = tmp_path / "shot.png"
    browse(tmp_path, "--window-size=1100,4000", f"--screenshot={shot}", any_page.as_uri())
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert pixels.shape[0] >= 3000
    assert all(band.std() > 5 for band in np.array_split(pixels, 8))  # text or figure all the way down


def test_it_prints_its_closed_parts_too(any_page, tmp_path):
    target = tmp_path / "report.pdf"
    browse(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={target}", any_page.as_uri())
    assert target.read_bytes().startswith(b"%PDF")
    if shutil.which("pdftotext"):
        text = subprocess.check_output(["pdftotext", str(target), "-"], text=True)
        assert "versions: torch" in text
        assert "What this report cannot tell" in text
