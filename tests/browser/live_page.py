#!/usr/bin/env python3
"""The live page in a real browser. Usage: live_page.py URL [FOLDER FOR SCREENSHOTS]

The gate at URL must show its camera two people it knows, one with the name HOSTILE, and a stranger, over and over.
When this program prints `restart`, whoever started it restarts the gate and answers with a line.
Ends with 0 when all is well; prints what was not.
"""

import pathlib
import sys

from webdriver import Browser, Failed

HOSTILE = '<img src=x onerror="window.hostile=1">'

BANNER = """
const banner = document.querySelector('#verdict');
const text = banner.innerText;
return banner.dataset.verdict === arguments[0] && text.includes(arguments[1]) && text.includes(arguments[2]) && text;
"""

# The label of a box and its outcome.
LABEL = """
return [...document.querySelectorAll('.box')]
  .some((box) => box.dataset.verdict === arguments[0] && box.innerText.includes(arguments[1]));
"""


def check(condition, what):
    if not condition:
        raise Failed(what)
    print(f"ok: {what}", flush=True)


def shoot(browser, folder, name):
    if folder:
        still = "return document.getAnimations().every((one) => one.effect.target.closest('.box'))"
        browser.wait("end of the animations", still)
        browser.screenshot(str(pathlib.Path(folder, name)))


def run(browser, url, folder):
    browser.screen(1280, 1000)
    browser.go(url)
    browser.wait("connection", "return document.querySelector('#agent').innerText === '已连接'")
    check(browser.text("h1") == "门神", "the page begins in the gate's language")
    check(browser.script("return document.documentElement.lang") == "zh-CN", "and says so")

    first = browser.wait("picture", "return Number(document.querySelector('#picture[data-state=live]')?.dataset.frame)")
    browser.wait("later picture", "return Number(document.querySelector('#picture').dataset.frame) > arguments[0]", first)
    colours = """
    const canvas = document.querySelector('#canvas');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const seen = new Set();
    for (let at = 0; at < data.length; at += 4000) seen.add(data[at] * 65536 + data[at + 1] * 256 + data[at + 2]);
    return seen.size > 20;
    """
    check(browser.wait("picture with something on it", colours), "the live picture is there and goes on")

    # The same visitor's box, at two places.
    browser.script("window.places = {}")
    moves = """
    for (const box of document.querySelectorAll('.box')) {
      const rect = box.getBoundingClientRect();
      const place = `${Math.round(rect.left)} ${Math.round(rect.top)}`;
      (window.places[box.dataset.track] ??= new Set()).add(place);
    }
    return Object.values(window.places).some((places) => places.size > 3);
    """
    check(browser.wait("moving box", moves, seconds=40), "the boxes move with the faces")
    inside = """
    const picture = document.querySelector('#canvas').getBoundingClientRect();
    const boxes = [...document.querySelectorAll('.box')].map((box) => box.getBoundingClientRect());
    return boxes.length > 0 && boxes.every((box) => {
      const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
      return x > picture.left && x < picture.right && y > picture.top && y < picture.bottom;
    });
    """
    check(browser.wait("box within the picture", inside, seconds=40), "the boxes lie on the picture")

    browser.wait("verdict of a known person", BANNER, "pass", "张三", "通过", seconds=60)
    check("请通行" in browser.text("#verdict"), "a known person's verdict has its reason in Chinese")
    check(browser.wait("open door", "return document.querySelector('#door').dataset.state === 'on'"), "the door opens")
    shoot(browser, folder, "pass-zh.png")
    check(browser.wait("name on the box", LABEL, "pass", "张三", seconds=60), "the box has the name")
    check(browser.wait("shut door", "return document.querySelector('#door').dataset.state === 'off'"), "the door shuts")
    browser.wait("verdict of the stranger", BANNER, "refuse", "拒绝", "陌生人，未登记", seconds=60)
    check(browser.script("return document.querySelector('#door').dataset.state") == "off", "it stays shut for the stranger")

    browser.wait("hostile name", BANNER, "pass", HOSTILE, "通过", seconds=60)
    browser.wait("hostile name on the box", LABEL, "pass", HOSTILE, seconds=60)
    listed = """
    return [...document.querySelectorAll('#record-list strong')].some((name) => name.innerText === arguments[0]);
    """
    check(browser.wait("hostile name in the records", listed, HOSTILE), "a hostile name is shown as it is")
    made = "return window.hostile !== undefined || document.querySelectorAll('img[src=x]').length > 0"
    check(not browser.script(made), "and is text, not markup")

    loaded = """
    const images = [...document.querySelectorAll('#record-list img')];
    return images.length > 0 && images[0].complete && images[0].naturalWidth > 0;
    """
    check(browser.wait("picture of a record", loaded), "the records have their pictures")
    check(browser.wait("Wiegand frame", "return document.querySelector('#wires [data-kind=wiegand] code')?.innerText.length === 26"),
          "the Wiegand frame is shown")
    check(browser.script("return [...document.querySelectorAll('#record-list time')].every((time) => /^\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d$/.test(time.innerText))"),
          "the records have their times")

    browser.click("#language")
    check(browser.text("h1") == "Menshen", "the language changes")
    check(browser.script("return document.documentElement.lang") == "en", "and the page says so")
    browser.wait("English verdict", BANNER, "pass", "张三", "Please pass", seconds=60)
    browser.wait("English refusal", BANNER, "refuse", "Refused", "Not registered", seconds=60)
    browser.emulate(prefers_color_scheme="dark")
    shoot(browser, folder, "refuse-en-dark.png")
    browser.emulate(prefers_color_scheme="light")
    browser.go(url)
    browser.wait("connection", "return document.querySelector('#agent').innerText === 'Connected'")
    check(browser.text("h1") == "Menshen", "the choice of the language is remembered")

    browser.wait("shut door", "return document.querySelector('#door').dataset.state === 'off'")
    browser.click("#open")
    note = "return [...document.querySelectorAll('#wires li')].some((line) => line.innerText.includes('Opened by the technician'))"
    check(browser.wait("opening by the technician", note), "the button opens the door")

    # All that can be reached by the keyboard has a name that a screen reader can say.
    named = """
    return [...document.querySelectorAll('button, a, input, canvas, section')]
      .filter((one) => one.checkVisibility())
      .every((one) => one.innerText || one.getAttribute('aria-label') || one.getAttribute('aria-labelledby'));
    """
    check(browser.script(named), "everything has a name for a screen reader")
    browser.screen(360, 780, phone=True)
    check(browser.wait("narrow page", "return document.documentElement.scrollWidth <= 360"), "it fits a phone")
    covered = """
    const [title, chip] = ['h1', '#agent'].map((one) => document.querySelector(one));
    const range = document.createRange();
    range.selectNodeContents(title);
    return range.getBoundingClientRect().right <= chip.getBoundingClientRect().left;
    """
    check(browser.script(covered), "and nothing lies over anything there")
    browser.wait("picture", "return document.querySelector('#picture').dataset.state === 'live'")
    shoot(browser, folder, "phone.png")
    browser.screen(1280, 1000)
    complaints = browser.console()
    check(not complaints, f"the browser complains about nothing {complaints or ''}")

    print("restart", flush=True)
    browser.wait("alarm", "return document.querySelector('#away').checkVisibility()", seconds=40)
    check("Reconnecting" in browser.text("#away"), "the page says that the gate is away")
    shoot(browser, folder, "away.png")
    check(browser.script("return document.querySelector('#open').disabled && !document.querySelector('.box')"
                         " && document.querySelector('#door').dataset.state === 'unknown'"),
          "and shows nothing that is no longer true")
    sys.stdin.readline()
    back = "return document.querySelector('#agent').innerText === 'Connected' && !document.querySelector('#away').checkVisibility()"
    browser.wait("connection after the restart", back, seconds=60)
    browser.wait("picture after the restart", "return document.querySelector('#picture').dataset.state === 'live'", seconds=60)
    browser.wait("verdict after the restart", "return document.querySelector('#verdict').dataset.verdict !== 'none'", seconds=60)
    check(True, "it comes back by itself after a restart")


def main():
    url, folder = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    with Browser() as browser:
        try:
            run(browser, url, folder)
        except Failed as failure:
            print(f"FAILED: {failure}", flush=True)
            print(browser.text("body"))
            print(browser.console())
            shoot(browser, folder, "failed.png")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
