#!/usr/bin/env python3
"""A page of an integrator (desk_page.html) in a real browser, at a document reader service.

Usage: desk_page.py zh|en SERVICE FOREIGN [SCREENSHOTS]
SERVICE is the address of the service (ws://… or wss://…). The page is served here, on a port that is said first
("page ORIGIN"); FOREIGN is yes where its origin is not allowed. What is to happen at the reader is said line by line
("want offline"), and waited for until a line comes back.
"""

import functools
import http.server
import os
import sys
import threading

from webdriver import Browser, Failed

ZH = {
    "title": "证件识别系统",
    "connected": "设备已连接",
    "not_found": "WebSocket已连接，未检测到设备",
    "failed": "识别出错",
    "restart": "WebSocket服务需要重新启动",
    "timeout": "识别超时，未读到证件",
    "name": "姓名",
    "number": "公民身份号码",
    "uv": "NN设备不支持紫光拍照",
    "card": "居民身份证",
}
EN = {
    "title": "Document recognition system",
    "connected": "Device is connected",
    "not_found": "WebSocket connected, no device found",
    "failed": "The document could not be read",
    "restart": "The WebSocket service is about to restart",
    "timeout": "No document was read in time",
    "name": "Name",
    "number": "ID number",
    "uv": "NNThe device has no ultraviolet light",
    "card": "Resident identity card",
}


def check(good, what):
    print(("ok    " if good else "WRONG ") + what, flush=True)
    if not good:
        raise Failed(what)


def want(what):
    print("want " + what, flush=True)
    if not sys.stdin.readline():
        raise Failed("the test has ended")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serve():
    here = os.path.dirname(os.path.abspath(__file__))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=here))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


TEXT = """for (const row of document.querySelectorAll('#texts tr'))
  if (row.cells[0].innerText === arguments[0]) return row.cells[1].innerText;
return null"""
LOADED = """const picture = document.querySelector('#picture-' + arguments[0]);
return picture && picture.complete && picture.naturalWidth > 0 ? [picture.naturalWidth, picture.naturalHeight] : null"""


def run(browser, texts, shot):
    says = functools.partial(browser.text)
    browser.wait("connection", "return document.querySelector('#status').innerText === arguments[0]", texts["connected"])
    check(says("#title") == texts["title"], "the page has its texts from the service")
    check(says("#name") == "SDT" and says("#serial") == "SERIAL-1", "it names the reader")

    want("lay down")
    browser.wait("drawn back", LOADED, "SidBack")
    check(browser.script(TEXT, texts["name"]) == "张三", "a document is shown as it is laid down")
    check(browser.script(TEXT, texts["number"]) == "11010519491231002X", "with its number")
    check(browser.script(TEXT, "CARD_NAME") == texts["card"], "and what it is")
    check(browser.script(TEXT, "CARD_MAINID") == "2", "as pages of the vendor's demo read it")
    for name, size in (("SidHead", [102, 126]), ("SidFront", [1011, 638]), ("SidBack", [1011, 638])):
        check(browser.wait(name, LOADED, name) == size, f"the browser shows {name}")
    shot("card")
    browser.click("#photos")
    browser.wait("pictures by bits", "return window.photos")
    check(browser.script("return window.photos.join()") == "ChipHead,SidHead", "pictures are given by bits")

    want("take away")
    browser.wait("taken away", "return window.seen.includes('CardTakenaway/RealtimeMessage')")
    browser.click("#trigger")
    browser.wait("time-out", "return document.querySelector('#shown').innerText === arguments[0]", texts["timeout"])
    check(True, "a trigger without a document times out")
    want("fail")
    browser.wait("failure", "return document.querySelector('#shown').innerText === arguments[0]", texts["failed"])
    check(True, "a document that cannot be read is said")

    want("unplug")
    browser.wait("no reader", "return document.querySelector('#status').innerText === arguments[0]", texts["not_found"])
    check(says("#name") == "", "a reader that is unplugged is seen")
    want("plug in")
    browser.wait("reader", "return document.querySelector('#status').innerText === arguments[0]", texts["connected"])
    check(True, "and one that is back")

    before = browser.script("return window.set")
    browser.click("#save")
    browser.wait("settings", "return window.set === arguments[0] + 3", before)
    want("lay down")
    browser.wait("all in one", "return window.seen.includes('Save/DocInfoAllInOne')")
    browser.wait("text", TEXT, "UVDull")
    check(browser.script(TEXT, "UVDull") == texts["uv"] + " (VIZ)", "there is no ultraviolet light")
    check(browser.script(TEXT, texts["name"]) == "张三 (RFID)", "texts go with their source")
    shot("source")
    want("take away")

    opened = browser.script("return window.opened")
    want("restart")
    browser.wait("restart", "return window.seen.includes('RestartService/RealtimeMessage')")
    check(browser.script("return window.seen.includes('ReConnect/RealtimeMessage')"), "a restart is told before")
    browser.wait("connection after the restart", "return window.opened > arguments[0]", opened)
    browser.wait("reader", "return document.querySelector('#status').innerText === arguments[0]", texts["connected"])
    want("lay down")
    browser.wait(
        "all in one", "return window.seen.lastIndexOf('Save/DocInfoAllInOne') > window.seen.lastIndexOf('RestartService/RealtimeMessage')"
    )
    check(True, "settings are there after it")
    check(not [one for one in browser.console() if "WebSocket" not in one["message"] and "favicon" not in one["message"]], "no complaints")


def main():
    language, service, foreign = sys.argv[1:4]
    folder = sys.argv[4] if len(sys.argv) > 4 else None
    origin = serve()
    print("page " + origin, flush=True)
    service = sys.stdin.readline().strip() or service

    with Browser(size=(1280, 1100), language="zh-CN" if language == "zh" else "en", insecure=service.startswith("wss")) as browser:

        def shot(name):
            if folder:
                browser.screenshot(os.path.join(folder, f"desk_{language}_{name}.png"))

        try:
            browser.go(f"{origin}/desk_page.html?service={service}")
            if foreign == "yes":
                browser.wait("refusal", "return window.lost >= 1")
                check(browser.script("return window.opened") is None, "a page of another origin does not come in")
            else:
                run(browser, ZH if language == "zh" else EN, shot)
        except Failed as failure:
            print(f"FAILED: {failure}", browser.text("body"), browser.console(), flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
