"""The web page as a person meets it: through the gateway, over TLS, in Chromium."""

import pytest
from conftest import PASSWORD, joined

from harness.bound import until

HOSTILE = '<img src=x onerror="window.broken=1"><script>window.broken=2</script> & "quoted" <em>'


def save(tab, title, body):
    tab.click("#new")
    tab.write("#title", title)
    tab.write("#body", body)
    tab.click("#save")
    tab.until_says("Saved.")


def search(tab, words, hits):
    """Searches until so many are found: a document is found a moment after it was saved."""
    tab.write("#words", words)

    def found():
        tab.press("Enter")
        tab.until("!document.querySelector('#find [type=submit]').disabled")
        return tab.is_shown("#found") and len(tab.texts("#hits .open")) == hits

    until(found, f"{hits} found for {words!r}")


def test_a_document_from_registration_to_its_deletion(tab, picture):
    tab.until_shown("#signed-out")
    picture(tab, "signed-out")
    joined(tab)
    assert tab.text("#email") == tab.email
    tab.until_shown("#empty")

    save(tab, "Lighthouse", "A lighthouse at night.")
    assert tab.texts("#documents strong") == ["Lighthouse"]
    assert tab.text("#facts").startswith("Version 1, ")
    tab.write("#body", "A lighthouse at noon.")
    tab.click("#save")
    tab.until("document.getElementById('facts').textContent.startsWith('Version 2, ')")
    save(tab, "Harbour", "Ships, and a lighthouse.")
    assert tab.texts("#documents strong") == ["Harbour", "Lighthouse"]

    search(tab, "lighthouse noon", 1)
    assert tab.texts("#hits strong") == ["Lighthouse"]
    assert [text.lower() for text in tab.texts("#hits .snippet mark")] == ["lighthouse", "noon"]
    assert tab.text("#found-count") == "1 document"
    picture(tab, "search-light")
    tab.click("#hits .open")
    tab.until("document.getElementById('body').value === 'A lighthouse at noon.'")

    tab.click("#delete")
    assert tab.text("#delete") == "Delete for good"
    tab.click("#delete")
    tab.until_says("Deleted.")
    tab.click("#found-close")
    tab.until("document.querySelectorAll('#documents .open').length === 1")
    assert tab.texts("#documents strong") == ["Harbour"]

    tab.click("#sign-out")
    tab.until_shown("#signed-out")
    assert not tab.is_shown("#signed-in") and tab.texts(".open") == []
    assert tab.tell("sessionStorage.length") == 0


def test_texts_of_documents_are_never_html(signed_in):
    tab = signed_in
    save(tab, f"marmot {HOSTILE}", f"{HOSTILE} marmot {HOSTILE}")
    assert tab.texts("#documents strong") == [f"marmot {HOSTILE}"]
    assert tab.text("#editor-title") == f"marmot {HOSTILE}"
    search(tab, "marmot", 1)
    assert tab.texts("#hits strong") == [f"marmot {HOSTILE}"]
    snippet = tab.text("#hits .snippet")
    assert '<img src=x onerror="window.broken=1">' in snippet and "&" in snippet and "&amp;" not in snippet
    assert "marmot" in tab.texts("#hits .snippet mark")
    # The page's own picture and scripts, and no other.
    assert tab.tell("document.querySelectorAll('main img, main script, main em').length") == 0
    assert tab.tell("window.broken ?? null") is None


def test_the_browser_itself_refuses_html_of_strings_and_scripts_of_the_page(tab):
    refused = "(() => { try { document.body.innerHTML = '<b>x</b>'; return null } catch (error) { return error.name } })()"
    assert tab.tell(refused) == "TypeError"
    tab.tell("document.body.append(Object.assign(document.createElement('a'), {id: 'probe'}))")
    tab.tell("document.getElementById('probe').setAttribute('style', 'position: fixed')")
    assert tab.tell("getComputedStyle(document.getElementById('probe')).position") == "static"
    # Both breaches were told, which the end of the test must not mistake for the page's own.
    until(lambda: len(tab.problems()) >= 2, "the breaches are told")
    assert all("Content Security Policy" in text or "TrustedHTML" in text for text in tab.problems())
    tab.problems = list


def test_who_changes_what_another_changed_meanwhile_is_told_and_loses_nothing(tabs):
    first = joined(tabs())
    save(first, "Shared", "one")
    second = tabs()
    second.write("#sign-in-email", first.email)
    second.write("#sign-in-password", PASSWORD)
    second.press("Enter")
    second.until_shown("#documents .open")
    second.click("#documents .open")
    second.until("document.getElementById('body').value === 'one'")

    first.write("#body", "two")
    first.click("#save")
    first.until("document.getElementById('facts').textContent.startsWith('Version 2, ')")
    second.write("#body", "three")
    second.click("#save")
    second.until_says("Somebody changed this document")
    assert second.tell("document.getElementById('body').value") == "three"
    second.click("#delete")
    second.click("#delete")
    second.until_says("It is not deleted.")
    second.click("#reload")
    second.until("document.getElementById('body').value === 'two'")
    assert not second.is_shown("#reload")
    second.write("#body", "three")
    second.click("#save")
    second.until("document.getElementById('facts').textContent.startsWith('Version 3, ')")


def test_a_saved_document_whose_answer_was_lost_is_not_made_twice(signed_in):
    tab = signed_in
    tab.click("#new")
    tab.write("#title", "Once")
    # The request goes out; its answer does not come back to the page.
    tab.tell("window.usual = window.fetch; window.fetch = async (...all) => { await window.usual(...all); throw new TypeError() }")
    tab.click("#save")
    tab.until_says("cannot be reached")
    tab.tell("window.fetch = window.usual")
    tab.click("#save")
    tab.until_says("Saved.")
    assert tab.texts("#documents strong") == ["Once"]


def test_a_session_outlives_a_reload_and_an_access_token(signed_in):
    tab = signed_in
    save(tab, "Kept", "text")
    tab.open("/")
    tab.until_shown("#documents .open")
    assert tab.text("#email") == tab.email
    # A token that is over is a 401, and the page gets another.
    tab.tell("window.usual = window.fetch; window.count = 0; window.fetch = (path, options) => { window.count += 1;"
             " return window.usual(path, window.count === 1 ? {...options, headers: {...options.headers,"
             " Authorization: 'Bearer x.y.z'}} : options) }")
    tab.click("#documents .open")
    tab.until("document.getElementById('title').value === 'Kept'")
    assert tab.tell("window.count") == 3


def test_a_long_list_is_told_page_by_page(signed_in):
    tab = signed_in
    tab.tell("""(async () => {
        const { ask } = await import("/page/session.js");
        for (let number = 0; number < 25; number += 1) {
            await ask("POST", "/api/v1/documents", { json: { title: `Number ${number}`, body: "" } });
        }
    })()""")
    tab.open("/")
    tab.until("document.querySelectorAll('#documents .open').length === 20")
    tab.click("#more")
    tab.until("document.querySelectorAll('#documents .open').length === 25")
    assert not tab.is_shown("#more")
    assert set(tab.texts("#documents strong")) == {f"Number {number}" for number in range(25)}


def deliveries(tab):
    return tab.tell("Array.from(document.querySelectorAll('#deliveries tr'), (row) => Array.from(row.cells, (cell) => cell.textContent))")


def test_webhooks_are_added_watched_tried_and_removed(signed_in, receiver, picture):
    tab = signed_in
    tab.until_shown("#webhooks")
    assert tab.text("#no-deliveries") == "Nothing has been delivered yet."
    receiver.answer["/hook"] = lambda number: 503 if number == 1 else 204
    tab.write("#hook-url", receiver.url())
    tab.click("#hook [type=submit]")
    tab.until_shown("#secret")
    receiver.trust("/hook", tab.text("#secret").split(": ")[1])
    tab.until("document.querySelectorAll('#hooks li').length === 1")
    assert tab.texts("#hooks .hook > span") == [f"{receiver.url()}\ndocument.*"]

    save(tab, "Told", "a lighthouse")
    # Refused once, and delivered by the second attempt; nothing on the page was pressed for it.
    tab.until("document.querySelectorAll('#deliveries tr').length === 2")
    (second, first), (message,) = deliveries(tab), receiver.messages()
    assert first[1:] == ["document.created", first[2], "503", "1", receiver.url()] and first[2].startswith("failed")
    assert second[1:] == ["document.created", "delivered", "204", "2", receiver.url()]
    assert receiver.messages()[message][0].body["data"]["title"] == "Told" and receiver.refused == []
    picture(tab, "webhooks")

    tab.click("#hooks button:first-of-type")
    tab.until("document.querySelectorAll('#deliveries tr').length === 3")
    assert deliveries(tab)[0][1:5] == ["webhook.test", "delivered", "204", "1"]
    tab.click("#hooks button:last-of-type")
    tab.until("document.querySelectorAll('#hooks li').length === 0")

    # Another account sees none of it.
    tab.click("#sign-out")
    tab.until_shown("#signed-out")
    assert tab.texts("#deliveries tr") == [] and not tab.is_shown("#secret")
    joined(tab)
    tab.until_shown("#no-deliveries")
    assert tab.texts("#deliveries tr") == []


def test_an_address_that_no_webhook_may_have_is_refused_in_words(signed_in):
    tab = signed_in
    tab.write("#hook-url", "ftp://example.com/hook")
    tab.click("#hook [type=submit]")
    tab.until("document.getElementById('message').classList.contains('bad') && !document.getElementById('message').hidden")
    assert tab.texts("#hooks li") == []


@pytest.mark.parametrize("name, password, said", [
    ("nobody@example.com", "not the right one", "The user name or the password is wrong."),
])
def test_a_refusal_is_told_in_words(tab, name, password, said):
    tab.write("#sign-in-email", name)
    tab.write("#sign-in-password", password)
    tab.click("#sign-in [type=submit]")
    tab.until_says(said)
    assert tab.is_shown("#signed-out")


CONTRAST = """(() => {
    const parts = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (text) => parts(text).slice(0, 3).map((each) => each / 255)
        .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
        .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
    const ground = (node) => {
        for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (parts(colour).length === 3 || parts(colour)[3] > 0) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const poor = [];
    for (const node of document.querySelectorAll("body *")) {
        const isText = Array.from(node.childNodes).some((each) => each.nodeType === 3 && each.data.trim() !== "");
        if (!node.checkVisibility() || !(isText || node.matches("input, textarea")) || node.disabled) continue;
        const [a, b] = [light(getComputedStyle(node).color), light(ground(node))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) poor.push(`${node.tagName} ${node.id} ${ratio.toFixed(2)}`);
    }
    return poor;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark_wide_and_narrow(signed_in, scheme, picture):
    tab = signed_in
    tab.dress(scheme)
    save(tab, "A title that is long enough to need more than one line in a narrow window, and says so", "lighthouse " * 40)
    search(tab, "lighthouse", 1)
    for width in (1200, 360):
        tab.resize(width, 900)
        picture(tab, f"{scheme}-{width}")
        assert tab.tell(CONTRAST) == []
        assert tab.tell("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    ground = tab.tell("getComputedStyle(document.body).backgroundColor")
    assert (int(ground.split("(")[1].split(",")[0]) < 128) == (scheme == "dark")


def test_what_a_service_says_of_itself_is_not_told_to_the_world(tab):
    for path in ("/metrics", "/readyz"):
        assert tab.tell(f"fetch('{path}').then((answer) => answer.status)") == 404, path
