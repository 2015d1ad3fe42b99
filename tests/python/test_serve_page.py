"""The page in headless Chromium, where playwright and a Chromium are at hand."""

import os
import re
import shutil

import pytest

pytest.importorskip("starlette")
playwright = pytest.importorskip("playwright.sync_api")

from support.serving import serving  # noqa: E402

BROWSER = os.environ.get("SPECTRALKV_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PHONE = {"width": 360, "height": 640}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from support.tiny_model import write_tiny_model

    path = write_tiny_model(tmp_path_factory.mktemp("page") / "tiny.gguf", context_length=8192)
    with serving(str(path)) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no Chromium here, and SPECTRALKV_CHROMIUM names none")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(browser, server, request):
    page = browser.new_page(viewport=PHONE, color_scheme=request.param)
    faults = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(server.url)
    yield page
    page.close()
    assert faults == []


def say(page, text, tokens="20"):
    if not page.locator("details[open]").count():
        page.click("summary")
    page.fill("#longest", tokens)
    page.fill("#text", text)
    page.click("#send")


def brightness(page):
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(","))


def test_a_chat(page):
    assert page.text_content("#model") in ("", "tiny.gguf")
    say(page, "hello <b>there</b>")
    note = page.locator("article.assistant small")
    playwright.expect(note).to_contain_text("per second", timeout=10000)
    assert page.text_content("article.user") == "hello <b>there</b>"
    assert len(page.text_content("article.assistant")) > 10
    playwright.expect(page.locator("#cache")).to_contain_text("bits per entry", timeout=10000)
    playwright.expect(page.locator("#model")).to_have_text("tiny.gguf")
    page.click("#forget")
    assert page.locator("article").count() == 0


def test_an_answer_is_stopped(page, server):
    say(page, "hello", "8000")
    playwright.expect(page.locator("#send")).to_have_text("Stop")
    playwright.expect(page.locator("article.assistant")).to_have_text(re.compile(".{20}", re.DOTALL), timeout=10000)
    page.click("#send")
    playwright.expect(page.locator("#send")).to_have_text("Send")
    assert server.idle(5)


def test_two_cache_types_side_by_side(browser, tiny_model):
    with serving(tiny_model, compare="q8_0") as both:
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.goto(both.url)
        playwright.expect(page.locator("#cache")).to_contain_text("q8_0", timeout=10000)
        say(page, "hello")
        notes = page.locator("article.assistant small")
        playwright.expect(notes.nth(1)).to_contain_text("per second", timeout=10000)
        titles = page.locator("article.assistant strong").all_text_contents()
        assert titles[0].startswith("eoptshrinkq:2") and titles[1] == "q8_0"
        first, second = (page.locator("article.assistant").nth(i).bounding_box() for i in range(2))
        assert first["y"] == second["y"] and first["x"] + first["width"] <= second["x"]
        page.close()


def test_it_fits_a_phone_in_light_and_dark(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (brightness(page) < 200) == dark
