"""Chromium without a window, driven over its DevTools pipe: nothing is installed beside the browser, and no port is open."""

import base64
import json
import os
import shutil
import subprocess
import threading

from harness.bound import PATIENCE, TooLate, until

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """A running browser with a profile of its own. `close` is called by the fixture that made it."""

    def __init__(self, folder, *options):
        to_browser, ours = os.pipe()
        self._from_browser, theirs = os.pipe()
        command = [
            PROGRAM, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}",
            # The tests' machine may be a container that allows no sandbox; the only pages are our own.
            "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run", "--disable-extensions",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-default-browser-check",
            "--lang=en-GB", *options, "about:blank"]
        with open(folder / "browser.log", "wb") as log:
            # The pipe's ends must be 3 and 4.
            self.process = subprocess.Popen(
                ["bash", "-c", f'exec 3<&{to_browser} 4>&{theirs}; exec "$0" "$@"', *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(to_browser, theirs),
                env={**os.environ, "LANG": "C.UTF-8", "TZ": "UTC"})
        os.close(to_browser)
        os.close(theirs)
        self._to_browser = os.fdopen(ours, "wb", buffering=0)
        self._log = folder / "browser.log"
        self._changed = threading.Condition()
        self._answers = {}
        self._last = 0
        self._ended = False
        self.events = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        rest = b""
        while piece := os.read(self._from_browser, 1 << 16):
            *whole, rest = (rest + piece).split(b"\0")
            with self._changed:
                for message in map(json.loads, whole):
                    if "id" in message:
                        self._answers[message["id"]] = message
                    else:
                        self.events.append(message)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def call(self, method, session=None, **parameters):
        """One command of the DevTools protocol, and its result."""
        with self._changed:
            self._last += 1
            number = self._last
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self._to_browser.write(json.dumps(message).encode() + b"\0")
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._answers or self._ended, 3 * PATIENCE) or self._ended:
                log = self._log.read_text(errors="replace")[-2000:]
                raise TooLate(f"{method}: {'the browser ended' if self._ended else 'no answer'}\n{log}")
            answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(PATIENCE)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self._to_browser.close()
        self._reader.join(PATIENCE)
        os.close(self._from_browser)


class Tab:
    """One page, used as a person uses it: by what is seen, pointed at and typed."""

    def __init__(self, browser, origin):
        self.browser = browser
        self.origin = origin
        # A context of its own: no tab sees what another kept.
        self.world = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=self.world)["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(1200, 900)
        self.open("/")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def events(self, method):
        return [event["params"] for event in list(self.browser.events)
                if event["method"] == method and event.get("sessionId") == self.session]

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def dress(self, scheme):
        """Asks for light or dark, as a desktop does."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, path):
        loaded = len(self.events("Page.loadEventFired"))
        answer = self.call("Page.navigate", url=self.origin + path)
        assert "errorText" not in answer, answer
        until(lambda: len(self.events("Page.loadEventFired")) > loaded, f"{path} is loaded")

    def tell(self, expression):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression, what=None):
        """Waits until the expression is true in the page."""
        try:
            return until(lambda: self.tell(expression), what or expression)
        except TooLate as late:
            raise TooLate(f"{late}\nthe page says: {self.text('#message')!r}\n{self.problems()}") from None

    def text(self, selector):
        return self.tell(f"document.querySelector({json.dumps(selector)})?.innerText ?? null")

    def texts(self, selector):
        return self.tell(f"Array.from(document.querySelectorAll({json.dumps(selector)}), (each) => each.innerText)")

    def is_shown(self, selector):
        return self.tell(f"document.querySelector({json.dumps(selector)})?.checkVisibility() ?? false")

    def until_shown(self, selector):
        self.until(f"document.querySelector({json.dumps(selector)})?.checkVisibility()", f"{selector} is shown")

    def until_says(self, text):
        self.until(f"document.getElementById('message').textContent.includes({json.dumps(text)})", f"the message {text!r}")

    def click(self, selector):
        """Points at the middle of what is shown there, and presses; fails where something else lies over it."""
        self.until_shown(selector)
        self.until(f"!document.querySelector({json.dumps(selector)}).disabled", f"{selector} can be pressed")
        x, y, hit = self.tell(
            "(() => { const each = document.querySelector(%s); each.scrollIntoView({block: 'center'});"
            " const box = each.getBoundingClientRect(); const x = box.x + box.width / 2, y = box.y + box.height / 2;"
            " return [x, y, each.contains(document.elementFromPoint(x, y))]; })()" % json.dumps(selector))
        assert hit, f"something lies over {selector}"
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def write(self, selector, text):
        """Replaces what a field holds."""
        self.click(selector)
        self.tell(f"document.querySelector({json.dumps(selector)}).select()")
        if text:
            self.call("Input.insertText", text=text)
        else:
            self.press("Delete")

    def press(self, key):
        extra = {"text": "\r"} if key == "Enter" else {}
        code = {"Enter": 13, "Delete": 46, "Tab": 9}[key]
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                      **(extra if kind == "keyDown" else {}))

    def requests(self):
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def problems(self):
        """What the browser complained of: exceptions, and breaches of the page's policy. An answer that is no success is
        none, since the tests provoke some."""
        thrown = [event["exceptionDetails"] for event in self.events("Runtime.exceptionThrown")]
        logged = [event["entry"]["text"] for event in self.events("Log.entryAdded")
                  if event["entry"]["level"] in ("error", "warning") and event["entry"]["source"] != "network"]
        printed = [event["args"] for event in self.events("Runtime.consoleAPICalled")]
        return thrown + logged + printed

    def picture(self, file):
        # All of it at once needs no scroll bar, but the browser would cut the picture off where one would be.
        size = self.tell("({width: window.innerWidth, height: document.documentElement.scrollHeight})")
        data = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip={"x": 0, "y": 0, "scale": 1, **size})["data"]
        file.write_bytes(base64.b64decode(data))
