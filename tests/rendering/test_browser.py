"""The page in a real browser, on machines that have Chromium."""

from __future__ import annotations

import http.server
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from harness import records
from harness.report import dispatch
from tests.bench.report.synthetic_bench import BenchWish, write_bench
from tests.study.report.synthetic import Wish, write
from tests.tally import Tally

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed here")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-quic", "--enable-logging=stderr"),
)


def browse(page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page without a window; standard error holds the console."""
    return subprocess.run(
        [str(CHROMIUM), *QUIET, f"--user-data-dir={profile}", *options, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.fixture(scope="module", params=["study", "bench"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's page, and that of a bench."""
    directory = tmp_path_factory.mktemp("page")
    if request.param == "bench":
        write_bench(directory, BenchWish(devices=("cpu", "cuda:0")))
    else:
        write(directory, Wish(trials=4))
    return dispatch.render_folder(directory).html


def test_the_browser_has_nothing_to_say(page: Path, tmp_path: Path) -> None:
    """The page's own policy refuses nothing in it, and the console stays empty."""
    done = browse(page, tmp_path, "--dump-dom")
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<svg") == page.read_text("utf-8").count("<svg") >= 7


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_page_follows_the_scheme(page: Path, tmp_path: Path, scheme: str) -> None:
    """A reader who likes it dark gets a dark page with light ink, figures included.

    And the other way round.
    """
    from matplotlib.image import imread

    shot = tmp_path / "shot.png"
    number = {"dark": 0, "light": 1}[scheme]
    browse(
        page,
        tmp_path / "profile",
        f"--blink-settings=preferredColorScheme={number}",
        "--window-size=900,1400",
        f"--screenshot={shot}",
    )
    pixels = imread(shot)[..., :3].mean(axis=2)
    paper = pixels[5, 5]
    assert (paper < 0.2) if scheme == "dark" else (paper > 0.95)
    far = abs(pixels - paper) > 0.5
    assert far[:500].mean() > 0.01  # words
    assert far[600:1100].mean() > 0.002  # the first figure's


@pytest.mark.parametrize("width", [500, 800, 1400])
def test_the_page_fits_its_window(page: Path, tmp_path: Path, width: int) -> None:
    """Nothing sticks out, on a phone or on a desk: what is wide scrolls by itself."""
    html = page.read_text("utf-8")
    probe = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html).replace(
        "</body>",
        "<script>document.title = document.documentElement.scrollWidth</script></body>",
    )
    wide = records.write_text(tmp_path / "probe.html", probe)
    done = browse(wide, tmp_path / "profile", "--dump-dom", f"--window-size={width},900")
    title = re.search(r"<title>(\d+)</title>", done.stdout)
    assert title is not None
    assert int(title.group(1)) <= width


class Listening(http.server.BaseHTTPRequestHandler):
    """Answers everything with a script, and keeps what was asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Answer."""
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript")
        self.end_headers()
        self.wfile.write(b"document.title = 'owned'")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


INJECTED = """<script>document.title = 'owned'</script><script src="{url}a.js"></script>
<img src="{url}b.png"><img src=x onerror="document.title = 'owned'"><iframe src="{url}c.html"></iframe>
<link rel="stylesheet" href="{url}d.css"><style>@import "{url}e.css"; body {{ background: url({url}f.png) }}</style>
<object data="{url}g.svg"></object><video src="{url}h.mp4"></video><base href="{url}">
<svg><image href="{url}i.png"/><use href="{url}j.svg#k"/><script>document.title = 'owned'</script></svg>"""


@pytest.mark.parametrize("policy", [True, False])
def test_what_is_injected_neither_runs_nor_loads(
    page: Path, tmp_path: Path, policy: bool, tally: Tally
) -> None:
    """If a name becomes markup, the page's policy keeps it from running and from the network.

    Without the policy the same page runs it and asks for it, so that the test can tell.
    """
    Listening.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listening) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        html = page.read_text("utf-8").replace("<main>", "<main>" + INJECTED.format(url=url))
        if not policy:
            html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
        injected = records.write_text(tmp_path / "injected.html", html)
        done = browse(injected, tmp_path / "profile", "--dump-dom")
        server.shutdown()
    owned = "<title>owned</title>" in done.stdout
    if policy:
        tally.add(
            "markup that runs or loads, injected into `report.html`",
            "in Chromium it does neither",
            injected=INJECTED.count("{url}") + INJECTED.count("document.title"),
            lost=len(set(Listening.asked)) + owned,
        )
    assert (owned, bool(Listening.asked)) == (not policy, not policy)
    assert ("Content Security Policy" in done.stderr) == policy
