#!/usr/bin/env python3
"""The page of a gate that wants a token, in a real browser. Usage: token_page.py URL TOKEN"""

import sys

from live_page import check
from webdriver import Browser, Failed


def run(browser, url, token):
    browser.go(url)
    browser.wait("question for the token", "return document.querySelector('#token').open")
    check(browser.text("#people") == "", "without the token nothing is shown")
    browser.type("#token-field", "0" * len(token))
    browser.click("#token-form button")
    browser.wait("refusal", "return document.querySelector('#token-wrong').innerText !== ''")
    check(browser.script("return document.querySelector('#token').open"), "a wrong token does not do")
    browser.type("#token-field", token)
    browser.click("#token-form button")
    browser.wait("connection", "return document.querySelector('#agent').dataset.state === 'good'")
    check(browser.text("#people") == "0", "the right one does")
    check(browser.script("return document.cookie") == "", "scripts cannot read the cookie")
    browser.go(url)
    browser.wait("connection", "return document.querySelector('#agent').dataset.state === 'good'")
    check(not browser.script("return document.querySelector('#token').open"), "it is asked for once")
    complaints = [one for one in browser.console() if "401" not in one["message"]]
    check(not complaints, f"the browser complains about nothing else {complaints or ''}")


def main():
    with Browser() as browser:
        try:
            run(browser, sys.argv[1], sys.argv[2])
        except Failed as failure:
            print(f"FAILED: {failure}", browser.text("body"), browser.console(), flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
