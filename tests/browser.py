"""A headless Chromium, driven by the DevTools protocol through pipes: nothing else is needed.

with Browser(width=400, height=800, dark=True) as browser:
    browser.open("http://127.0.0.1:7860/")
    browser.wait_for("document.querySelector('img')")
    browser.evaluate("document.title")
    browser.press("Tab")
    browser.screenshot("page.png")
    browser.complaints, browser.addresses      # of the console; what was asked for
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# Chromium speaks at its descriptors 3 and 4.
_START = "import os, sys; os.dup2({0}, 3); os.dup2({1}, 4); os.execv(sys.argv[1], sys.argv[1:])"
_KEYS = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39}
_SECONDS = 60.0


def find_chromium() -> str | None:
    """Path of a Chromium that is installed, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page. Use it as a context manager.

    Args:
        width, height: of the window.
        dark: whether the user prefers dark colors.

    Attributes:
        complaints: errors and warnings of the console, and uncaught exceptions.
        addresses: everything that the page asked for.
    """

    def __init__(self, width: int = 1200, height: int = 900, dark: bool = False):
        self.complaints: list[str] = []
        self.addresses: list[str] = []
        self._numbers, self._buffer = itertools.count(1), b""
        self._shape, self._dark = (width, height), dark

    def __enter__(self) -> Browser:
        import fcntl

        self._folder = tempfile.TemporaryDirectory(prefix="browser.", ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
        options = ["--headless", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars"]
        options += [f"--user-data-dir={self._folder.name}"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium wants that of root.
        start = [sys.executable, "-c", _START.format(*ends), find_chromium()]
        self._process = subprocess.Popen(
            [*start, *options], pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for end in (theirs_in, theirs_out, *ends):
            os.close(end)
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        found = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        width, height = self._shape
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._folder.cleanup()

    def open(self, address: str) -> None:
        """Goes to an address, and waits until the page is loaded."""
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                         awaitPromise=True, userGesture=True)  # fmt: skip
        if "exceptionDetails" in told:
            raise RuntimeError(f"{script}: {told['exceptionDetails']}")
        return told["result"].get("value")

    def wait_for(self, condition: str, seconds: float = _SECONDS) -> None:
        """Waits until an expression is true in the page."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{condition} is not true after {seconds:g} seconds")
            time.sleep(0.05)

    def press(self, key: str, times: int = 1) -> None:
        """Presses and releases a key, as of `_KEYS`."""
        code = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        code |= {"text": "\r"} if key == "Enter" else {}
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown", **code)
            self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def choose_file(self, selector: str, path: str) -> None:
        """Chooses a file in an input of the page, as a user does."""
        script = f"document.querySelector({json.dumps(selector)})"
        found = self.call("Runtime.evaluate", expression=script)["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[path], objectId=found)

    def screenshot(self, path: str, height: int | None = None) -> None:
        """Writes a PNG or .jpg of the window, or of the page from its top down to a height."""
        area = {"format": "jpeg", "quality": 85} if path.endswith(".jpg") else {"format": "png"}
        if height is not None:
            clip = {"x": 0, "y": 0, "width": self._shape[0], "height": height, "scale": 1}
            area |= {"clip": clip, "captureBeyondViewport": True}
        content = self.call("Page.captureScreenshot", **area)["data"]
        Path(path).write_bytes(base64.b64decode(content))

    def call(self, method: str, **params: Any) -> dict:
        """The answer to a command of the protocol for the page."""
        return self._call(method, self._session, **params)

    def _call(self, method: str, session: str | None = None, **params: Any) -> dict:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            told = self._read()
            if told.get("id") == number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']}")
                return told["result"]
            self._note(told)

    def _read(self) -> dict:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], _SECONDS)[0]:
                raise TimeoutError("Chromium says nothing")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise RuntimeError("Chromium has ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, told: dict) -> None:
        params = told.get("params", {})
        if told["method"] == "Network.requestWillBeSent":
            self.addresses.append(params["request"]["url"])
        elif told["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif told["method"] == "Runtime.consoleAPICalled" and params["type"] in (
            "error",
            "warning",
        ):
            self.complaints.append(json.dumps(params["args"]))
        elif told["method"] == "Log.entryAdded" and params["entry"]["level"] in (
            "error",
            "warning",
        ):
            self.complaints.append(params["entry"]["text"])
