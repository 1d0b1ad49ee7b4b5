"""The page in Gradio, and in a real browser (slow)."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="needs the extra [demo]")

from recformer_hf.demo_page import build_page, launch_page, load_page
from recformer_hf.demo_page.page import FULL_QUEUE, _as_markdown
from tests.support.demo_page import HOSTILE, served_page, some_shop
from tests.support.serving import saved_shop

WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def page():
    return build_page(some_shop().model, some_shop().tokenizer, HOSTILE)


def test_no_call_of_the_page_is_an_interface_for_programs(page):
    assert page.get_api_info()["named_endpoints"] == {}
    assert not page.api_open
    assert not page.analytics_enabled


def test_clicks_run_one_after_the_other(page):
    """All but the search, which does not use the model."""
    limits = [(each.concurrency_id, each.concurrency_limit) for each in page.fns.values()]
    assert limits.count(("model", 1)) == len(limits) - 1
    assert page._queue.max_size == FULL_QUEUE


def test_a_title_is_plain_text():
    assert _as_markdown("*a* <b>\n# c") == "\\*a\\* \\<b\\> \\# c"


def test_a_checkpoint_is_loaded_with_its_tokenizer():
    page = load_page(saved_shop() / "shop", "Kitchen")
    assert page.title == "Kitchen"
    with pytest.raises(ValueError, match="no items"):
        load_page(saved_shop() / "encoder")


def test_no_file_can_be_left_at_the_page():
    page = build_page(some_shop().model, some_shop().tokenizer)
    _, url, _ = launch_page(page, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        form = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x.html"\r\n\r\nabc\r\n--b--\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(f"{url}gradio_api/upload", form, headers), timeout=30)
        assert caught.value.code == 413
    finally:
        page.close(verbose=False)


# In a browser


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra [dev])")
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium, or set CHROMIUM to its path")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def url(browser, tmp_path_factory):
    with served_page(some_shop(), HOSTILE, tmp_path_factory.mktemp("page")) as address:
        yield address


def visit(browser, url: str, width: int = 1280):
    """An opened page, with what it fetched from elsewhere, its errors and its dialogs in one list."""
    tab, wrong = browser.new_page(viewport={"width": width, "height": 900}), []
    tab.set_default_timeout(60_000)
    tab.on("request", lambda each: None if each.url.startswith((url, "data:", "blob:")) else wrong.append(each.url))
    tab.on("dialog", lambda each: (wrong.append(each.message), each.dismiss()))
    tab.on("pageerror", lambda each: wrong.append(str(each)))
    tab.goto(url)
    tab.wait_for_selector("#found button[data-act=add]")
    return tab, wrong


def wait_for(tab, selector: str, count: int) -> None:
    tab.wait_for_function(f"document.querySelectorAll({selector!r}).length === {count}")


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_history_ten_items_an_explanation_and_an_invented_item(browser, url, width):
    shop = some_shop()
    tab, wrong = visit(browser, url, width)
    assert tab.locator("h1").inner_text() == HOSTILE  # as text, in a heading

    for number in range(3):
        tab.locator("#found button[data-act=add]").nth(number).click()
        wait_for(tab, "#history li", number + 1)
    wait_for(tab, "#recommended button[data-act=why]", 10)
    history = shop.search("")[:3]
    expected = shop.model.recommend([history], shop.tokenizer, 10).item_ids[0]
    buttons = tab.locator("#recommended button[data-act=why]")
    assert [buttons.nth(place).get_attribute("data-item") for place in range(10)] == expected

    buttons.nth(1).click()
    tab.wait_for_selector("#recommended .rf-why")
    assert shop.item(expected[1])["title"] in tab.locator("#recommended .rf-why h3").inner_text()
    assert buttons.nth(1).evaluate("each => each === document.activeElement")
    tab.locator("#recommended button[data-act=similar]").nth(0).click()
    tab.wait_for_selector("#recommended .rf-near")

    tab.locator("#keep").get_by_text("Keep").click()
    kept = shop.model.recommend([history], shop.tokenizer, 10, exclude_history=False).item_ids[0]
    tab.wait_for_selector(f"#recommended li:nth-child(1) button[data-item='{kept[0]}']")

    tab.locator("#field-0 input").fill(HOSTILE)
    tab.locator("#invent").click()
    tab.wait_for_selector("#invented .rf-own")
    assert HOSTILE in tab.locator("#invented .rf-own b").inner_text()
    tab.locator("#invented button[data-act=add]").click()
    wait_for(tab, "#history li", 4)
    assert HOSTILE in tab.locator("#history li b").first.inner_text()

    if folder := os.environ.get("SCREENSHOTS"):
        tab.screenshot(path=Path(folder, f"page-{width}.png"), full_page=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert wrong == []
    tab.close()


@pytest.mark.slow
def test_visitors_share_nothing_and_search_while_they_type(browser, url):
    first, _ = visit(browser, url)
    second, _ = visit(browser, url)
    first.locator("#search input").press_sequentially("onerror")
    wait_for(first, "#found li", 1)
    assert HOSTILE in first.locator("#found b").inner_text()
    first.locator("#found button[data-act=add]").click()
    wait_for(first, "#history li", 1)
    second.locator("#example").click()
    wait_for(second, "#history li", 4)
    assert first.locator("#history li").count() == 1
    first.locator("#history button[data-act=remove]").click()
    wait_for(first, "#history li", 0)
    second.locator("#clear").click()
    wait_for(second, "#history li", 0)
    first.close()
    second.close()
