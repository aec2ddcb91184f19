"""The page as people use it: mvlm-demo as a process of its own, and Debian's Chromium without a screen."""

import io
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvlm_plugin.demo.limits import PHOTO_SIDE, enlarge
from tests.cli.commands import ENVIRONMENT, ROOT, run
from tests.interface.conftest import save_checkpoint

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("no browser: apt-get install chromium", allow_module_level=True)
pytest.importorskip("gradio", reason="the page needs gradio: pip install 'mvlm-plugin[demo]'")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'mvlm-plugin[test]'")

# A browser that runs as root, without a GPU, and asks nobody outside.
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 60_000  # milliseconds, on a busy machine
GRID = 4


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a page of 40 scenes and an untrained model, served by the real command."""
    folder = tmp_path_factory.mktemp("demo")
    databin = folder / "data-bin"
    run([sys.executable, "-m", "data_prep.command", "scenes", "--dest", str(databin), "--pairs", "60", "--seed", "1"])
    save_checkpoint(folder / "checkpoint.pt", databin)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--path", folder / "checkpoint.pt", "--data", databin, "--subset", "train", "--max-images", 40]
    command = [sys.executable, "-m", "mvlm_plugin.demo.command", *map(str, arguments), "--port", str(port)]
    (folder / "temporary").mkdir()
    # torch's compiler makes a folder for what it compiles as soon as it is imported.
    environment = {**ENVIRONMENT, "TMPDIR": str(folder / "temporary"), "TORCHINDUCTOR_CACHE_DIR": str(folder / "torch")}
    with open(folder / "log", "w+") as log:
        server = subprocess.Popen([*command, "--device", "cpu"], cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(server, port, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    text = (folder / "log").read_text()
    assert "Traceback" not in text, text
    assert not list((folder / "temporary").iterdir())  # photos and uploads do not outlive it


def _wait_for(server: subprocess.Popen, port: int, log: Path) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, log.read_text()
        time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """With an empty profile."""
    profile = tmp_path_factory.mktemp("profile")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, args=OPTIONS, headless=True, viewport={"width": 1280, "height": 900}
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, freshly opened. It must ask for nothing from elsewhere, and have no error of its own."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.locator("#photo img").wait_for()
    yield page
    page.close()
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not errors


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def picture(page: Any, place: str) -> Image.Image:
    """What an image of the page holds, as the browser has it."""
    page.locator(f"{place} img").first.wait_for()
    source = page.locator(f"{place} img").first.get_attribute("src")
    return Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB")


def until(holds: Callable[[], bool]) -> None:
    """Wait for what the browser draws, which it tells no one."""
    end = time.monotonic() + PATIENCE / 1000
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def canvas(page: Any) -> np.ndarray:
    """Pixels of the editor, as they are on the screen: (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(page.locator("#editor canvas").first.screenshot())).convert("RGB"))


def changed_patches(before: Image.Image, after: Image.Image) -> np.ndarray:
    """(GRID, GRID) bool: where any pixel differs. Both are larger than the grid by a whole number."""
    differs = (np.asarray(before) != np.asarray(after)).any(axis=2)
    side = differs.shape[0] // GRID
    return differs.reshape(GRID, side, GRID, side).any(axis=(1, 3))


def test_a_search_returns_pictures(page: Any) -> None:
    page.locator("#words textarea, #words input").first.fill("a red circle")
    page.click("#search")
    found = page.locator("#found img")
    found.nth(11).wait_for()
    until(lambda: found.evaluate_all("images => images.every(image => image.naturalWidth > 0)"))
    assert re.search(r"match \d+%", page.locator("#found").inner_text())
    # A photo that was found is that of the other tabs then.
    before = page.locator("#photo img").get_attribute("src")
    caption = page.locator("#caption textarea").input_value()
    page.locator("#found button.thumbnail-item").nth(2).click()
    until(lambda: page.locator("#photo img").get_attribute("src") != before)
    until(lambda: page.locator("#caption textarea").input_value() != caption)
    open_tab(page, "Captions by photo")
    page.click("#search-captions")
    page.locator("#captions-found tr").nth(10).wait_for()
    assert page.locator("#captions-found tr").count() == 11


def test_a_drawn_mask_is_filled_and_nothing_else(page: Any) -> None:
    open_tab(page, "Hide a part of the photo")
    until(lambda: canvas(page).std() > 20)  # the photo is there, no longer an empty canvas
    box = page.locator("#editor canvas").first.bounding_box()
    across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2  # the middle of the photo
    page.mouse.move(across - 70, down - 60)
    page.mouse.down()
    for right, below in ((-25, -60), (-25, -35), (-70, -35)):
        page.mouse.move(across + right, down + below, steps=3)
    page.mouse.up()
    until(lambda: (canvas(page) == (0xE6, 0x00, 0x7E)).all(axis=2).sum() > 500)
    page.click("#rebuild")
    page.locator("#rebuilt-comment p").wait_for()
    photo = enlarge(picture(page, "#photo"))
    rebuilt, wrong, hidden = (picture(page, place) for place in ("#rebuilt", "#rebuilt-wrong", "#hidden"))
    expected = np.zeros((GRID, GRID), dtype=bool)
    expected[1, 1] = True  # left of the middle and above it
    for changed in (rebuilt, wrong, hidden):
        assert changed.size == photo.size
        np.testing.assert_array_equal(changed_patches(photo, changed), expected)
    assert changed_patches(rebuilt, wrong)[1, 1]  # the caption makes a difference


def test_words_are_guessed_with_both_photos(page: Any) -> None:
    open_tab(page, "Hide words")
    assert page.locator("#masked textarea, #masked input").first.input_value().count("[MASK]") == 1
    page.click("#guess")
    page.locator("#guesses .bar").nth(9).wait_for()
    bars = page.locator("#guesses .bar i").all_inner_texts()
    assert len(bars) == 10
    assert bars[:5] != bars[5:]


def test_heat_maps_appear(page: Any) -> None:
    open_tab(page, "Where words are seen")
    words = page.locator("#caption textarea").input_value().split()
    page.click("#draw-maps")
    maps = page.locator("#word-maps img")
    maps.nth(len(words) - 1).wait_for()
    until(lambda: maps.evaluate_all("images => images.every(image => image.naturalWidth > 0)"))
    assert maps.count() == len(words)
    assert re.search(r"probability \d+%", page.locator("#match").inner_text())


@pytest.mark.parametrize("kind", ["too many pixels", "no image"])
def test_a_bad_upload_is_told_on_the_page(page: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "upload.png"
    if kind == "no image":
        path.write_bytes(b"<script>alert(1)</script>")
    else:
        Image.new("1", (9000, 9000)).save(path)  # 81 megapixels in a few kilobytes
    page.locator("#photo [aria-label='Clear'], #photo [aria-label='Remove Image']").first.click()
    page.locator("#photo input[type=file]").set_input_files(path)
    page.locator(".toast-wrap").get_by_text("no usable image: JPEG").wait_for()


def test_an_upload_becomes_the_photo(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "upload.jpg"
    Image.new("RGB", (900, 300), (200, 30, 30)).save(path)
    page.locator("#photo [aria-label='Clear'], #photo [aria-label='Remove Image']").first.click()
    page.locator("#photo input[type=file]").set_input_files(path)
    until(lambda: picture(page, "#photo").size == (PHOTO_SIDE, round(PHOTO_SIDE / 3)))
    open_tab(page, "Captions by photo")
    page.click("#search-captions")
    page.locator("#captions-found tr").nth(10).wait_for()
    assert "✓" not in page.locator("#captions-found").inner_text()
