"""The part of W3C WebDriver that the tests of the page need, over chromedriver, with the standard library only."""

import base64
import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import time

# Debian's chromium in a container: no sandbox, no GPU, nothing that looks for the network.
CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
]

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Failed(Exception):
    """The browser refused a command, or what was waited for did not come."""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Browser:
    """One chromium with one page. Use it in a `with` statement: it ends the browser it started."""

    def __init__(self, size=(1280, 1000), language="zh-CN", dark=False, insecure=False):
        self.port = free_port()
        self.profile = tempfile.mkdtemp(prefix="menshen-browser-")
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={self.port}", "--log-level=SEVERE"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.session = None
        try:
            self._wait_for_driver()
            arguments = [*CHROMIUM, f"--user-data-dir={self.profile}", f"--lang={language}"]
            arguments.append(f"--window-size={size[0]},{size[1]}")
            if dark:
                arguments.append("--force-dark-mode")
            if insecure:  # a certificate that nobody has made it trust
                arguments.append("--ignore-certificate-errors")
            wanted = {"browserName": "chrome", "goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}}
            answer = self._request("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self.session = answer["sessionId"]
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            if self.session:
                self._request("DELETE", f"/session/{self.session}")
        except (OSError, Failed):
            pass
        self.driver.terminate()
        self.driver.wait(10)
        shutil.rmtree(self.profile, ignore_errors=True)

    def _wait_for_driver(self):
        for _ in range(200):
            try:
                if self._request("GET", "/status")["ready"]:
                    return
            except OSError:
                pass
            if self.driver.poll() is not None:
                break
            time.sleep(0.05)
        raise Failed("chromedriver does not start: apt-get install chromium chromium-driver")

    def _request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            text = None if method != "POST" else json.dumps(body or {})
            connection.request(method, path, text, {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise Failed(f"{value['error']}: {value['message'].splitlines()[0]}")
        return value

    def _command(self, method, path, body=None):
        return self._request(method, f"/session/{self.session}{path}", body)

    def go(self, url):
        self._command("POST", "/url", {"url": url})

    def script(self, text, *arguments):
        """Runs the body of a function in the page and returns what it returns."""
        return self._command("POST", "/execute/sync", {"script": text, "args": list(arguments)})

    def text(self, selector):
        """What a visitor reads of the first element, None without it."""
        return self.script("return document.querySelector(arguments[0])?.innerText ?? null", selector)

    def click(self, selector):
        found = self._command("POST", "/element", {"using": "css selector", "value": selector})
        self._command("POST", f"/element/{found[ELEMENT]}/click")

    def type(self, selector, text):
        found = self._command("POST", "/element", {"using": "css selector", "value": selector})
        self._command("POST", f"/element/{found[ELEMENT]}/value", {"text": text})

    def wait(self, what, script, *arguments, seconds=20):
        """Waits until the script returns something true, and returns that."""
        end = time.monotonic() + seconds
        while True:
            value = self.script(script, *arguments)
            if value:
                return value
            if time.monotonic() > end:
                raise Failed(f"after {seconds} s: no {what}")
            time.sleep(0.05)

    def emulate(self, **features):
        """Media features such as prefers-color-scheme."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self._command("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": wanted}})

    def screen(self, width, height, phone=False):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self._command("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics})

    def screenshot(self, file):
        with open(file, "wb") as out:
            out.write(base64.b64decode(self._command("GET", "/screenshot")))

    def console(self):
        """What the browser complained about since the last call."""
        return [entry for entry in self._command("POST", "/se/log", {"type": "browser"}) if entry["level"] == "SEVERE"]
