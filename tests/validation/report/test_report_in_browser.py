"""report.html in a real browser: nothing logged, nothing loaded, nothing wider than the window,
tables that sort.
"""

import html
import json
import re
import shutil
import subprocess

import pytest
from report_run import make_run

from openmm_nti.validation.report.page import write_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
WIDTHS = (1280, 400)
# Looks at the page in frames of both widths, sorts by the value, and leaves what it found as text.
PROBE = """
addEventListener("load", () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, root = page.documentElement;
    const table = page.querySelector("table");
    const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].dataset.sort);
    const before = order();
    table.tHead.querySelectorAll("button")[1].click();
    const ascending = order();
    const list = page.querySelector(".sort select");
    list.value = "-1";
    list.dispatchEvent(new Event("change"));
    found[frame.id] = {
      too_wide: root.scrollWidth - root.clientWidth, before, ascending, restored: order(),
      list_shown: list.getClientRects().length > 0,
      figures: [...page.querySelectorAll("figure svg")].every(
        svg => svg.getBoundingClientRect().height > 100),
      loaded: frame.contentWindow.performance.getEntriesByType("resource").length,
      numbers: atob(page.querySelector("figure a").href.split(",")[1]).split("\\n")[0],
    };
  }
  const text = {textContent: JSON.stringify(found)};
  document.body.replaceChildren(Object.assign(document.createElement("pre"), text));
});
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the browser found, by width, and what it wrote to its console."""
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome on this machine")
    folder = tmp_path_factory.mktemp("browser")
    page = html.escape(write_report(make_run(folder / "run")).read_text(encoding="utf-8"))
    frames = "".join(
        f'<iframe id="{w}" width="{w}" height="900" srcdoc="{page}"></iframe>' for w in WIDTHS
    )
    (folder / "probe.html").write_text(
        f'<!doctype html><meta charset="utf-8">{frames}<script>{PROBE}</script>'
    )
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=10000",
        "--dump-dom",
    ]
    command = [BROWSER, *options, (folder / "probe.html").as_uri()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{BROWSER} gives no answer within four minutes here")
    result = re.search(r"<pre>(.*)</pre>", done.stdout)
    if result is None:
        pytest.skip(f"{BROWSER} shows no page here: {done.stderr[-300:]}")
    return json.loads(html.unescape(result[1])), re.findall(r"CONSOLE.*", done.stderr)


def test_nothing_is_logged_or_loaded(seen):
    found, console = seen
    assert console == []
    assert [page["loaded"] for page in found.values()] == [0, 0]


def test_the_page_fits_the_screen(seen):
    found, _ = seen
    assert {width: page["too_wide"] for width, page in found.items()} == {
        str(width): 0 for width in WIDTHS
    }
    assert all(page["figures"] for page in found.values())
    assert [found[str(width)]["list_shown"] for width in WIDTHS] == [False, True]


def test_tables_sort_by_number_and_back(seen):
    for page in seen[0].values():
        assert page["ascending"] == [
            "neural_ti",
            "neural_ti_bound",
            "ti_neural_md",
            "mbar_neural",
            "mbar_softcore",
            "widom",
        ]
        assert page["restored"] == page["before"] != page["ascending"]
        assert page["numbers"] == "method,beta_f_ex_kt,std_err_kt"
