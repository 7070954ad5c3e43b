"""The page in a browser, before the gateway and the services: `make page-test`."""

import itertools
import os
import pathlib
import sys

import pytest

for room in ("Integration", "Platform"):
    sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / room))

from harness.fixtures import *  # noqa: E402,F401,F403
from browser import PROGRAM, Browser, Tab  # noqa: E402
from receiver import Receiver  # noqa: E402
from stage import Stage  # noqa: E402

_numbers = itertools.count(1)
PASSWORD = "correct horse battery staple"


def pytest_collection_modifyitems(items):
    if PROGRAM is None:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="Chromium is not installed (Debian: chromium)"))


@pytest.fixture(scope="session")
def stage(tmp_path_factory):
    made = Stage(tmp_path_factory.mktemp("stage"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def browser(stage, tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("browser"), f"--ignore-certificate-errors-spki-list={stage.pin}")
    yield made
    made.close()


@pytest.fixture
def tabs(stage, browser):
    """Makes tabs that know nothing of each other; whatever a test does, the browser has nothing to complain of."""
    made = []

    def make():
        made.append(Tab(browser, stage.origin))
        return made[-1]

    yield make
    for tab in made:
        problems, requests = tab.problems(), tab.requests()
        browser.call("Target.disposeBrowserContext", browserContextId=tab.world)
        assert problems == []
        # Nothing of another's: no script, no font, no picture, no call.
        assert requests and all(url.startswith((stage.origin + "/", "about:blank")) for url in requests), requests


@pytest.fixture
def tab(tabs):
    return tabs()


@pytest.fixture
def signed_in(tab):
    """A tab with a new account in it; its address is `tab.email`."""
    return joined(tab)


def joined(tab):
    tab.email = f"user-{next(_numbers)}@example.com"
    tab.write("#sign-in-email", tab.email)
    tab.write("#sign-in-password", PASSWORD)
    tab.click("#register")
    tab.until_shown("#signed-in")
    return tab


@pytest.fixture
def receiver():
    """Where webhooks arrive."""
    made = Receiver().start()
    yield made
    made.stop()


@pytest.fixture
def picture(request):
    """Takes a picture for people to look at, where `PICTURES` names a folder for them."""
    folder = os.environ.get("PICTURES")

    def take(tab, name):
        if folder:
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            tab.picture(pathlib.Path(folder) / f"{name}.png")

    return take
