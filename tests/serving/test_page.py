"""The page in a real Chromium: asking, links, widths, errors, keyboard, and what axe-core says of it."""

import shutil

import pytest

from realm_jax.evaluation.confidence import BELOW
from realm_jax.workdir import write_json

SENTENCE = "The capital of Jura is [MASK]."
QUESTION = "What is the capital of Jura?"
WIDTHS = (1440, 390)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="no Chromium on the PATH, so no test of the page in a browser; `apt-get install chromium` gets it",
    ),
    # Playwright's event loop outlives its page.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root, as in a container, has no sandbox.
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(params=WIDTHS)
def page(browser, served, request):
    """A page that fails the test if the console says anything."""
    context = browser.new_context(base_url=served.address, viewport={"width": request.param, "height": 800})
    opened, said = context.new_page(), []
    opened.set_default_timeout(60_000)
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith(served.address) else None)
    yield opened
    context.close()
    assert said == []


def accessible(page):
    """Fails where axe-core finds anything wrong."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def fits(page):
    """Whether nothing is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_type_ask_and_see_the_answer(page, model):
    page.goto("/")
    page.wait_for_selector("#text:focus")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector(".said")
    answer = model.answer(QUESTION)
    assert page.inner_text(".said") == answer.text == page.inner_text("li.hit mark")
    assert page.locator(".read > li").count() == 4 and page.locator(".read .down, .read .up").count() == 0
    assert [one.inner_text() for one in page.locator(".stage h3").all()] == [
        "Start",
        "After pre-training",
        "Fine-tuned",
    ]
    assert page.title().startswith(QUESTION) and page.url.endswith("?text=What+is+the+capital+of+Jura%3F")
    assert page.locator("#working").is_hidden() and fits(page)
    page.click("summary")
    assert page.inner_text(".chips").split() == ["[CLS]", *["what", "is", "the", "capital", "of", "jura", "?"], "[SEP]"]
    accessible(page)


def test_a_link_holds_the_question(page):
    page.goto(f"/?text={QUESTION}&truth=Jena")
    assert page.input_value("#text") == QUESTION and page.input_value("#truth") == "Jena"
    assert page.locator(".read .up, .read .down").count() == 4
    page.fill("#text", SENTENCE)
    page.fill("#truth", "")
    page.click("button")
    page.wait_for_selector("text=The null passage")
    assert page.locator(".read > li").count() == 5 and "p(null)" in page.inner_text(".facts") and fits(page)
    accessible(page)
    page.go_back()
    page.wait_for_selector(".read .up, .read .down")
    assert page.input_value("#text") == QUESTION


def test_passages_lead_to_others(page):
    page.goto(f"/?text={QUESTION}")
    title = page.inner_text(".read h3 a >> nth=0")
    page.click(".read h3 a >> nth=0")
    page.wait_for_selector("#neighbours")
    assert page.inner_text("h1") == title and page.locator("li.here").count() == 1 and fits(page)
    accessible(page)
    page.click("text=next")
    page.wait_for_url("**/passage/*")
    page.click("text=Corpus")
    page.wait_for_selector("h1:text('Corpus')")
    page.fill("#id", "30")
    page.keyboard.press("Enter")
    page.wait_for_url("**/corpus?id=30")
    assert page.locator("ol.passages li").count() == 3 and fits(page)
    accessible(page)


def test_examples_and_dark_colours(page):
    page.emulate_media(color_scheme="dark")
    page.goto("/")
    assert fits(page)
    accessible(page)
    example = page.locator(".examples a").first
    text = example.inner_text()
    example.click()
    page.wait_for_selector(".said")
    assert page.input_value("#text") == text and page.input_value("#truth")
    accessible(page)


def test_loading_and_errors(page):
    held = []
    page.goto("/")
    page.route("**/?text=*", lambda route: held.append(route))  # no answer yet
    page.fill("#text", QUESTION)
    page.click("button")
    page.wait_for_selector("#working:visible")
    assert page.get_attribute("#result", "aria-busy") == "true" and page.is_disabled("button")
    held[0].continue_()
    page.wait_for_selector(".said")
    page.fill("#text", "[mask] of Jura")
    page.evaluate("window.fetch = () => Promise.reject(new TypeError()); null")
    page.click("button")
    page.wait_for_selector("text=The server does not answer")
    assert page.locator("[role=alert]").count() == 1 and page.is_enabled("button")


def test_what_is_not_known(page, experiment, model):
    """Where the dev questions chose a probability that the answer has not: its best guess alone is marked."""
    write_json(experiment.workdir.unknown, {BELOW: 1.0, "wrong_costs": 1.0})
    try:
        page.goto(f"/?text={QUESTION}")
        assert page.inner_text(".said") == "Not known" and fits(page)
        assert page.inner_text("li.hit .right") == "the best guess"
        assert page.inner_text("li.hit mark") == model.answer(QUESTION).text
        accessible(page)
    finally:
        experiment.workdir.unknown.unlink()
    page.reload()
    assert page.inner_text(".said") == model.answer(QUESTION).text


def test_what_cannot_be_asked(browser, served):
    """Its console tells of status 400."""
    context = browser.new_context(base_url=served.address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.fill("#text", "[mask] of Jura")
    page.click("button")
    assert "written [MASK], in capitals" in page.inner_text("[role=alert]")
    assert page.input_value("#text") == "[mask] of Jura"
    page.fill("#text", QUESTION)
    page.click("button")
    assert page.inner_text("h2 >> nth=0") == "Answer"
    context.close()


def test_scripts_in_questions_do_nothing(browser, served):
    context = browser.new_context(base_url=served.address)
    page, dialogs = context.new_page(), []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto("/?text=<script>alert(1)</script><img src=x onerror=alert(2)>")
    page.fill("#text", '"><img src=x onerror=alert(3)>')
    page.click("button")
    page.wait_for_selector(".said")
    assert dialogs == [] and page.locator("img, #content script").count() == 0
    assert page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')") == "refused"
    context.close()
