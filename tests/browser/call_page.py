#!/usr/bin/env python3
"""The dial panel in a real browser. Usage: call_page.py URL [FOLDER FOR SCREENSHOTS]

The gate at URL must be logged in at a platform where room 304 can be called and 999 cannot. The called party of the
first call answers, opens the door and goes on talking; that of the second lets it ring.
"""

import sys

from live_page import check, shoot
from webdriver import Browser, Failed

STATE = "return document.querySelector('#call').dataset.state === arguments[0]"
SHOWN = "return document.querySelector('#call').innerText.includes(arguments[0])"


def dial(browser, room):
    browser.script("document.querySelector('#call-room').value = ''")
    browser.type("#call-room", room)
    browser.click("#call-dial")


def run(browser, url, folder):
    browser.screen(1280, 1000)
    browser.go(url)
    browser.wait("connection", "return document.querySelector('#agent').dataset.state === 'good'")
    browser.wait("platform", "return document.querySelector('#links').innerText.includes('已登录')")
    check("未呼叫" in browser.text("#call"), "there is no call at first")
    dial(browser, "3 4")
    check(browser.script("return !document.querySelector('#call-room').validity.valid"), "what is no room is refused at once")

    dial(browser, "304")
    browser.wait("talk", STATE, "talking")
    check(browser.wait("its text", SHOWN, "304 · 通话中"), "the panel follows the call")
    check(browser.wait("the opening", SHOWN, "住户已开门"), "and says that the called party opened")
    opened = "return [...document.querySelectorAll('#wires [data-kind=relay]')].some((one) => one.innerText.includes('住户开门'))"
    check(browser.wait("relay", opened), "so do the wires")
    hidden = "return [...document.querySelectorAll('#call button')].filter((one) => one.checkVisibility()).map((one) => one.id).join()"
    check(browser.script(hidden) == "call-end", "one can only hang up")
    check(browser.script("return document.querySelector('#call-room').disabled"), "and not dial another room")
    shoot(browser, folder, "call-talking-zh.png")
    browser.click("#call-end")
    browser.wait("end", STATE, "ended")
    check(browser.wait("its text", SHOWN, "通话已结束"), "hanging up ends it")
    check(browser.script(hidden) == "call-dial", "and one can dial again")

    browser.click("#language")
    check(browser.text("#call-title") == "Call a room", "the panel speaks English too")
    check("304 · The call has ended" in browser.text("#call-state"), "with the state of the call")
    dial(browser, "999")
    check(browser.wait("refusal", SHOWN, "There is no such room"), "a room that is not there is told")
    dial(browser, "304")
    browser.wait("ringing", STATE, "ringing")
    browser.emulate(prefers_color_scheme="dark")
    shoot(browser, folder, "call-ringing-en-dark.png")
    browser.emulate(prefers_color_scheme="light")
    browser.go(url)
    check(browser.wait("ringing after loading again", STATE, "ringing"), "a page that comes later knows of the call")
    check(browser.script("return document.querySelector('#call-room').value") == "304", "and of its room")
    browser.screen(360, 780, phone=True)
    check(browser.wait("narrow page", "return document.documentElement.scrollWidth <= 360"), "it fits a phone")
    shoot(browser, folder, "call-phone.png")
    browser.click("#call-end")
    check(browser.wait("end", SHOWN, "Hung up"), "and hangs up from there")
    complaints = browser.console()
    check(not complaints, f"the browser complains about nothing {complaints or ''}")


def main():
    folder = sys.argv[2] if len(sys.argv) > 2 else None
    with Browser() as browser:
        try:
            run(browser, sys.argv[1], folder)
        except Failed as failure:
            print(f"FAILED: {failure}", browser.text("body"), browser.console(), flush=True)
            shoot(browser, folder, "failed.png")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
