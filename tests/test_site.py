"""The built site: nothing from another host, no page too long, and in a browser, read from disk.

`make docs` builds the site that is read here; with SSLTOK_ALL=1 it is built anew. The browser is
Debian's Chromium, driven by Playwright; `make test-all` installs the latter.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.test_learn import DOCS, ROOT, module_of

EVERYTHING = bool(os.environ.get("SSLTOK_ALL"))
SOURCES = [ROOT / "docs", ROOT / "src", ROOT / "examples"]
MAIN_PAGES = [
    "index.html", "gallery.html", "choose/loss.html", "choose/metric.html", "guides/command.html",
    "learn/3_from_masks.html", "results/recipes.html", "api/losses.html",
    "api/losses/two_views.html",
]  # fmt: skip
LOADING = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src",
    "embed": "src", "object": "data", "use": "href", "image": "href",
}  # fmt: skip
"""Attributes from which a browser loads by itself."""
LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload", "manifest"}
ADDRESS_IN_STYLE = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")
FOUND = {
    "load csv": "guides/your_data.html",
    "pandas": "guides/your_data.html",
    "missing values": "guides/your_data.html",
    "multivariate": "guides/your_data.html",
    "impute": "guides/masks_to_series.html",
    "imputation": "guides/masks_to_series.html",
    "forecast": "guides/masks_to_series.html",
    "generate": "guides/masks_to_series.html",
    "anomaly": "guides/anomalies.html",
    "anomaly detection": "guides/anomalies.html",
    "save model": "guides/artefact.html",
    "load model": "guides/artefact.html",
    "tensorboard": "guides/with_your_tools.html",
    "lightning": "guides/with_your_tools.html",
    "mlflow": "guides/with_your_tools.html",
    "wandb": "guides/with_your_tools.html",
    "onnx": "guides/with_your_tools.html",
    "darts": "guides/with_your_tools.html",
    "aeon": "guides/with_your_tools.html",
    "GPU": "guides/machines.html",
    "cuda": "guides/machines.html",
    "vicreg_loss": "api/losses/two_views.html",
}
"""The page that stands first when a user types these words."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The built site: that of `make docs` where it is newer than its sources."""
    there = ROOT / "site" / "index.html"
    paths = [p for folder in SOURCES for p in folder.rglob("*") if p.suffix != ".pyc"]
    newest = max(path.stat().st_mtime for path in paths if path.is_file())
    if there.exists() and there.stat().st_mtime > newest and not EVERYTHING:
        return there.parent
    if not EVERYTHING:
        pytest.skip("no site newer than its sources: `make docs` builds one")
    folder = tmp_path_factory.mktemp("site")
    command = f"-m mkdocs build --strict -q -f {DOCS / 'mkdocs.yml'} -d {folder}"
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run([sys.executable, *command.split()], check=True, env=quiet)
    return folder


class Loads(HTMLParser):
    """Every address that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name.split(":")[-1]: value or "" for name, value in attrs}
        if tag in LOADING:
            self.found.append(values.get(LOADING[tag], ""))
            self.found += [part.split()[0] for part in values.get("srcset", "").split(",") if part]
        if tag == "link" and LINKS & set(values.get("rel", "").split()):
            self.found.append(values.get("href", ""))
        self.found += ["".join(pair) for pair in ADDRESS_IN_STYLE.findall(values.get("style", ""))]


def loaded(text: str) -> list[str]:
    """What a page loads, styles within it included."""
    page = Loads()
    page.feed(text)
    inner = "".join(re.findall(r"<style\b.*?</style>", text, re.DOTALL))
    return page.found + ["".join(pair) for pair in ADDRESS_IN_STYLE.findall(inner)]


def elsewhere(addresses: list[str]) -> list[str]:
    """Addresses of another host."""
    return [a for a in addresses if urlsplit(a).netloc or urlsplit(a).scheme not in ("", "data")]


def test_the_finder_of_addresses_finds_them() -> None:
    text = """<script src="https://a.b/c.js"></script><a href="https://kept.out"></a>
    <link rel="stylesheet" href="//a.b/d.css"><link rel="canonical" href="https://kept.out">
    <img src="e.png" srcset="f.png 1x, https://a.b/g.png 2x" style="background:url(http://a.b/h)">
    <style>@import "https://a.b/i.css"; p { src: url('//a.b/j.woff') }</style><img src="data:,">"""
    assert elsewhere(loaded(text)) == [
        "https://a.b/c.js", "//a.b/d.css", "https://a.b/g.png", "http://a.b/h",
        "https://a.b/i.css", "//a.b/j.woff",
    ]  # fmt: skip


def test_no_page_loads_anything_from_another_host(site: pathlib.Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    faults = {str(page): elsewhere(loaded(page.read_text())) for page in pages}
    for style in site.rglob("*.css"):
        addresses = ["".join(pair) for pair in ADDRESS_IN_STYLE.findall(style.read_text())]
        faults[str(style)] = elsewhere(addresses)
    assert {page: found for page, found in faults.items() if found} == {}


def test_no_page_shows_more_than_2000_words_before_it_is_unfolded(site: pathlib.Path) -> None:
    words = module_of("folding").words
    counts = {}
    for page in site.rglob("*.html"):
        article = re.search(r"<article.*?</article>", page.read_text(), re.DOTALL)
        if article and page.relative_to(site).parts[0] != "api":
            counts[str(page.relative_to(site))] = words(article[0])
    assert {page: count for page, count in counts.items() if count > 2050} == {}


def test_the_largest_tables_fold_and_say_what_is_in_them() -> None:
    folding = module_of("folding")

    def table(rows: int, cells: int) -> str:
        row = "<tr>" + "<td>word</td>" * cells + "</tr>"
        return f"<table><tr><th>a &lt; b</th><th></th><th>c</th></tr>{row * rows}</table>"

    small, large, larger = table(5, 600), table(10, 50), table(10, 60)
    short = f"<p>{'word ' * 1400}</p>{large}"
    assert folding.folded(short) == short
    page = folding.folded(f"<p>{'word ' * 1400}</p>{large}{larger}")
    assert page.count("<details") == 1
    assert f"<summary>10 rows: a &lt; b, c</summary>{larger}</details>" in page
    assert folding.words(page) == 1400 + 504 + 6
    assert folding.folded(small) == small, "a table of few rows stays open"
    opened = '<details open class="x"><summary>s</summary>two words</details>'
    assert folding.words(opened) == 3
    assert folding.words("<p>one</p><pre><code>x = 1</code></pre>") == 1
    assert folding.words(opened.replace(" open", "")) == 1


def test_every_public_name_of_the_losses_is_described_on_one_page() -> None:
    import ssltok.losses

    text = "".join(page.read_text() for page in (DOCS / "pages/api/losses").glob("*.md"))
    listed = re.findall(r"^        - (\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(ssltok.losses.__all__)


def test_every_public_name_is_in_the_reference(site: pathlib.Path) -> None:
    import importlib

    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    names = {line.split()[0] for line in zlib.decompress(inventory).decode().splitlines()}
    missing = [
        f"ssltok.{path.parent.name}.{name}"
        for path in (ROOT / "src/ssltok").glob("[a-z]*/__init__.py")
        for name in importlib.import_module(f"ssltok.{path.parent.name}").__all__
        if f"ssltok.{path.parent.name}.{name}" not in names
    ]
    assert missing == []


# In a browser.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium without a window; no network is reached."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="`make test-all` installs it")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"]
        )
        yield running
        running.close()


class Visit:
    """A page read from disk, and all that went wrong on it."""

    def __init__(self, browser: Any, site: pathlib.Path, **options: Any) -> None:
        self.site = site
        self.page = browser.new_context(**options).new_page()
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("requestfailed", lambda request: self.faults.append(request.url))
        self.page.on("request", self._see)

    def _see(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.faults.append(request.url)

    def open(self, address: str) -> None:
        self.page.goto(f"file://{self.site / address}")

    def search(self, text: str) -> list[str]:
        """Type words into the search, and read which pages it lists."""
        box, meta = ".md-search__input", "document.querySelector('.md-search-result__meta')"
        self.page.click(box)
        for typed, answer in (("qqqq", "No matching"), (text, r"\d+ matching")):
            self.page.fill(box, typed)
            self.page.press(box, "End")  # the theme listens to keys
            self.page.wait_for_function(
                f"rule => {meta}.textContent.match(RegExp(rule))", arg=answer, timeout=60_000
            )
        self.page.wait_for_selector(".md-search-result__item")
        links = self.page.eval_on_selector_all(
            ".md-search-result__item > a", "links => links.map(link => link.href)"
        )
        paths = [unquote(urlsplit(link).path).removeprefix(f"{self.site}/") for link in links]
        return list(dict.fromkeys(paths))


def test_search_from_disk_lists_the_right_page_first(browser: Any, site: pathlib.Path) -> None:
    """Without the stand-in for Worker no search from `file:` comes to an answer."""
    visit = Visit(browser, site)
    visit.open("choose/loss.html")  # not at the root: addresses are relative
    first = {words: visit.search(words)[0] for words in FOUND}
    assert visit.faults == []
    assert first == FOUND


def test_the_stand_in_is_as_a_worker(browser: Any, tmp_path: pathlib.Path) -> None:
    """Messages are copied, in order, never at once; so are those sent before the script is read."""
    shim = (DOCS / "pages/assets/iframe-worker.js").read_text()
    (tmp_path / "page.html").write_text(f"<body><script>{shim}</script>")
    answer = "addEventListener('message', e => postMessage({got: e.data.at, list: e.data.list}));"
    (tmp_path / "echo.js").write_text(answer)
    visit = Visit(browser, tmp_path)
    visit.open("page.html")
    heard = visit.page.evaluate("""async () => {
        const worker = new Worker("echo.js"), heard = [], list = [0];
        const all = new Promise(done => worker.addEventListener("message", event => {
            heard.push([event.data.got, event.data.list]);
            if (heard.length == 4) done();
        }));
        for (const at of [1, 2, 3]) { list[0] = at; worker.postMessage({at, list}); }
        await new Promise(later => setTimeout(later, 200));
        const before = heard.length;
        worker.postMessage({at: 4, list: []});
        const atOnce = heard.length - before;
        await Promise.race([all, new Promise(later => setTimeout(later, 20000))]);
        worker.terminate();
        return {heard, atOnce, frames: document.querySelectorAll("iframe").length};
    }""")
    assert heard["heard"] == [[1, [1]], [2, [2]], [3, [3]], [4, []]]
    assert (heard["atOnce"], heard["frames"]) == (0, 0)
    assert visit.faults == []
    missing = visit.page.evaluate("""() => new Promise(done => {
        setTimeout(() => done("nothing"), 20000);
        new Worker("no.js").addEventListener("error", event => done(event.message));
    })""")
    assert "no.js" in missing


def test_a_search_leads_to_its_page(browser: Any, site: pathlib.Path) -> None:
    visit = Visit(browser, site)
    visit.open("index.html")
    visit.search("impute")
    visit.page.click(".md-search-result__item > a")
    visit.page.wait_for_url("**/guides/masks_to_series.html*")
    assert visit.faults == []


def test_the_palette_follows_the_system_and_the_button(browser: Any, site: pathlib.Path) -> None:
    def scheme() -> Any:
        return visit.page.get_attribute("body", "data-md-color-scheme")

    visit = Visit(browser, site, color_scheme="dark")
    visit.open("index.html")
    assert scheme() == "slate"
    ground = "getComputedStyle(document.querySelector('article img')).backgroundColor"
    assert visit.page.evaluate(ground) == "rgb(255, 255, 255)", "figures have dark ink"
    seen = []
    for _ in range(3):
        visit.page.click("[data-md-component=palette] label:not([hidden])")
        seen.append(scheme())
    assert seen == ["default", "slate", "slate"], "light, dark, the system's"
    assert visit.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "width"), [("desktop", 1280), ("phone", 390)])
def test_main_pages_fit_the_screen(
    browser: Any, site: pathlib.Path, tmp_path: pathlib.Path, device: str, width: int, scheme: str
) -> None:
    """Nothing but tables, code and formulas is wider than the screen; pictures stay behind."""
    if not EVERYTHING and (device, scheme) != ("phone", "dark"):
        pytest.skip("with SSLTOK_ALL=1")
    folder = pathlib.Path(os.environ.get("SSLTOK_SCREENSHOTS", tmp_path))
    size = {"width": width, "height": 900}
    visit = Visit(browser, site, viewport=size, color_scheme=scheme)
    wide = {}
    for address in MAIN_PAGES if EVERYTHING else MAIN_PAGES[:3]:
        visit.open(address)
        visit.page.wait_for_load_state()
        wide[address] = visit.page.evaluate("document.documentElement.scrollWidth")
        name = f"{address.replace('/', '-').removesuffix('.html')}-{device}-{scheme}.png"
        visit.page.screenshot(path=folder / name)
    assert {address: found for address, found in wide.items() if found > width} == {}
    assert visit.faults == []
