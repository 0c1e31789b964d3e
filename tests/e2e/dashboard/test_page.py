"""The page in headless Chromium: it shows the numbers that were sent, follows the run, and says so when the run is gone."""
import os
import time
import unittest
import urllib.parse

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from harness import Case, Gateway, wait_for
from publisher import Publisher, play
from test_gateway import FIGURES, MATRIX, publish_step


class Page(Case):
    @classmethod
    def setUpClass(cls):
        options = Options()
        for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--force-color-profile=srgb"]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        cls.browser = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)

    @classmethod
    def tearDownClass(cls):
        cls.browser.quit()

    def setUp(self):
        super().setUp()
        self.size(1440, 900)
        self.scheme("light")
        self.browser.get_log("browser")

    def size(self, width, height):
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})

    def scheme(self, name, motion="no-preference"):
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}, {"name": "prefers-reduced-motion", "value": motion}]})

    def js(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0])?.textContent ?? null", selector)

    def legend(self, chart):
        return self.js("return Object.fromEntries([...document.querySelectorAll(`#chart-${arguments[0]} .legend li[data-series]`)].map(li => [li.dataset.series, li.querySelector('b').textContent]))", chart)

    def cells(self, box):
        return self.js("return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(tr => [...tr.children].map(td => td.textContent))", box)

    def until(self, selector, text, seconds=20):
        try:
            wait_for(lambda: text in (self.text(selector) or ""), seconds)
        except AssertionError:
            self.fail(f"{selector} says {self.text(selector)!r}, not {text!r}")

    def until_legend(self, chart, **expected):
        try:
            wait_for(lambda: {k: v for k, v in self.legend(chart).items() if k in expected} == expected)
        except AssertionError:
            self.fail(f"{chart} shows {self.legend(chart)}, not {expected}; {self.browser.get_log('browser')}")

    def no_complaints(self):
        bad = [e["message"] for e in self.browser.get_log("browser") if e["level"] == "SEVERE"]
        self.assertEqual(bad, [])

    def test_shows_what_was_sent_and_follows(self):
        with Publisher("numbers", self.path("numbers"), total_steps=400, steps_per_epoch=100) as run, Gateway(self.dir) as gateway:
            publish_step(run, 41)
            publish_step(run, 42, loss=[1.25, 0.9876, 0.4321], accuracy=[0.125, 0.5, 0.90625], ratio=[0.25, 4.0], coefficient=[1.0, 0.0625], cosine=[0.5, -0.25], branch_update_norm=[0.5, 0.125, 0.25], norm=2.5, rate=0.0005)
            run.validation(42, FIGURES, [list(range(36))] * 3)
            run.worker(0, host="alpha", pid=11, slots=1234, samples_per_second=98.76, staleness=1, wait_share=0.25, memory=5 * 10**8, doing="computing", threads=4)
            run.worker(7, host="beta", heard=time.time() - 60, samples_per_second=1.5)
            run.server(0, host="alpha", version=42, endpoint="tcp://127.0.0.1:5555", update_seconds=0.0125, queue=3)
            run.snapshot(40, size=123456789, best=True, seconds=0.5)
            run.event("worker-lost", "worker 7 was not heard", level="warning")
            run.status(state="training", samples_per_second=123.4, eta_seconds=3725.0, best_value=0.9375, best_step=42)
            self.browser.get(gateway.url)
            self.until("#state", "training")
            self.until("#progress-text", "Step 42 of 400, epoch 1 of 4 — 10.5")
            self.until_legend("loss", visual="1.25", text="0.9876", fused="0.4321")
            self.assertEqual(self.legend("accuracy"), {"visual": "0.125", "text": "0.5", "fused": "0.9063"})
            self.assertEqual(self.legend("ratio"), {"visual": "0.25", "text": "4"})
            self.assertEqual(self.legend("coefficient"), {"visual": "1", "text": "0.0625"})
            self.assertEqual(self.legend("cosine"), {"visual": "0.5", "text": "-0.25"})
            self.assertEqual(self.legend("update"), {"visual": "0.0625", "text": "0.0625", "fused": "–"})
            self.assertEqual(self.legend("norm"), {"norm": "2.5"})
            self.assertEqual(self.legend("rate"), {"rate": "0.0005"})
            self.assertIn("text is held back, k = 0.0625", self.text("#balance-now"))
            self.assertRegex(self.text("#eta-text"), r"1.h 2.min left")
            self.assertIn("123.4", self.text("[data-fact=throughput]"))
            self.assertIn("0.9375", self.text("[data-fact=best]"))
            workers = self.cells("workers")
            self.assertEqual([workers[0][0], workers[0][1], workers[0][2], workers[0][3], workers[0][4]], ["0", "alpha", "ok", "computing", "98.76"])
            self.assertIn("silent", workers[1][2])
            self.assertEqual(self.cells("servers")[0][4], "42")
            self.assertEqual([[c.replace("\u202f", "") for c in row[1:]] for row in self.cells("validation")][2], ["93.8%", "90.0%", "0.25", "0.01", "0.125"])
            confusion = self.cells("confusion")
            self.assertEqual(confusion[0][:7], ["hours", "·", "1", "2", "3", "4", "5"])
            self.assertEqual(confusion[5][1:7], ["30", "31", "32", "33", "34", "35"])
            self.assertIn("worker 7 was not heard", self.text("#events"))
            self.assertIn("123 MB", self.text("#snapshots").replace("\u202f", " "))
            # and live
            for number in range(43, 61):
                publish_step(run, number, loss=[0.5, 0.25, number / 1000])
            run.event("warning", "something new")
            run.status(state="validating")
            self.until("#progress-text", "Step 60 of 400")
            self.until("#state", "validating")
            self.until_legend("loss", fused="0.06")
            self.until("#events", "something new")
            run.validation(60, [(1.0, 0.75, 0.7, 0.1, 0.5)] * 3, [[2] * 36] * 3)
            self.until("#validation", "75.0")
            self.assertEqual(self.cells("confusion")[3][1:7], ["2"] * 6)
            self.no_complaints()

    def test_says_when_the_run_is_gone(self):
        with Gateway(self.dir) as gateway:
            self.browser.get(gateway.url)
            self.until("#notice", "There is no run")
            with Publisher("mortal", self.path("mortal")) as run:
                publish_step(run, 9)
                run.status(state="training")
                self.until("#state", "training")
                self.assertTrue(self.js("return document.getElementById('notice').hidden"))
                run.silence()
                self.until("#notice", "No news for")
                self.assertEqual(self.text("#state"), "no news")
                self.assertRegex(self.text("#notice"), r"No news for \d+.s: the run was last heard at \d\d:\d\d:\d\d")
                run.beating.set()
                self.until("#state", "training")
                self.assertTrue(self.js("return document.getElementById('notice').hidden"))
                run.finish("all epochs are done")
                self.until("#notice", "Run finished: all epochs are done (exit code 0).")
                self.assertEqual(self.text("#state"), "finished")
            self.until("#progress-text", "Step 9")
        self.until("#notice", "The dashboard itself has not answered for")

    def test_a_failed_run_opened_late(self):
        with Publisher("failed", self.path("failed")) as run:
            for number in range(1, 31):
                publish_step(run, number, norm=number * 0.125)
            run.validation(30, FIGURES, [MATRIX] * 3)
            run.event("warning", "loss is not finite")
            run.finish("diverged at step 30", code=4)
        with Gateway(self.path("failed")) as gateway:
            self.browser.get(gateway.url)
            self.until("#notice", "Run finished: diverged at step 30 (exit code 4).")
            self.assertEqual(self.text("#state"), "failed")
            self.until("#progress-text", "Step 30")
            self.until_legend("norm", norm="3.75")
            self.assertIn("loss is not finite", self.text("#events"))
            self.assertIn("93.8", self.text("#validation"))
            self.find("#chart-norm canvas").send_keys(Keys.HOME)  # its whole past is there
            self.until_legend("norm", norm="0.125")
            self.no_complaints()

    def test_names_are_never_markup(self):
        evil = "<script>document.title='owned'<"
        attack = "<img src=x onerror=\"document.documentElement.dataset.owned='1'\">"
        with Publisher(evil, self.path(evil), branches=[attack, "\"><b>text", "fused"], labels=[attack, "b"], total_steps=10, steps_per_epoch=5) as run, \
                Publisher("'\"&amp;", self.path("'\"&amp;")) as second, Gateway(self.dir) as gateway:
            publish_step(second, 1)
            publish_step(run, 5)
            run.validation(5, FIGURES, [[1, 2, 3, 4]] * 3)
            run.worker(0, host=attack, doing=attack)
            run.server(0, host=attack, endpoint=attack)
            run.event(attack, attack)
            run.status(state=attack)
            self.browser.get(gateway.url + "?run=" + urllib.parse.quote(evil, safe=""))
            self.until("#events", attack)
            self.until("#confusion", attack)
            self.until("#workers", attack)
            self.until("#runs", evil)
            self.until("#state", attack)
            self.assertIn(evil, self.browser.title)
            self.assertEqual(self.js("return document.querySelectorAll('img, main b:not(.legend b), main script').length"), 0)
            self.assertIsNone(self.js("return document.documentElement.dataset.owned ?? null"))
            self.no_complaints()

    def test_two_runs(self):
        with Publisher("slow", self.path("slow")) as slow, Publisher("fast", self.path("fast")) as fast, Gateway(self.dir) as gateway:
            for number in range(1, 11):
                publish_step(slow, number, loss=[1, 1, 0.75])
                publish_step(fast, number, loss=[1, 1, 0.25])
            slow.validation(10, [(1, 0.5, 0.5, 0, 1)] * 3, [MATRIX] * 3)
            fast.validation(10, [(1, 0.75, 0.5, 0, 1)] * 3, [MATRIX] * 3)
            self.browser.get(gateway.url + "?run=slow")
            self.until("#chart-compare .legend", "fast")
            self.until_legend("compare", slow="0.5", fast="0.75")
            self.js("const s = document.getElementById('compare-figure'); s.value = 'training loss, fused'; s.dispatchEvent(new Event('change'))")
            self.until_legend("compare", slow="0.75", fast="0.25")
            self.until_legend("loss", fused="0.75")
            self.find("#run").send_keys("fast")
            self.until_legend("loss", fused="0.25")
            self.assertIn("run=fast", self.browser.current_url)
            wait_for(lambda: self.js("return document.querySelector('#runs tr[aria-current=true]').textContent.includes('fast')"))

    def test_widths_themes_and_contrast(self):
        run = play(self.path("demo"), total=240, until=200)
        with run, Gateway(self.dir) as gateway:
            self.browser.get(gateway.url)
            self.until("#progress-text", "Step 200")
            for width in (320, 390, 768, 1024, 1440, 2200):
                self.size(width, 900)
                wait_for(lambda: self.js("return innerWidth") == width)
                wide = self.js("return [document.documentElement.scrollWidth, innerWidth, [...document.querySelectorAll('main > *')].filter(e => !e.hidden && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.getAttribute('aria-label') ?? e.id)]")
                self.assertLessEqual(wide[0], wide[1], f"{width} px scroll sideways")
                self.assertEqual(wide[2], [], f"{width} px")
            self.size(1440, 900)
            grounds = {}
            for scheme in ("light", "dark"):
                self.scheme(scheme)
                wait_for(lambda: scheme == self.js("return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'"))
                grounds[scheme] = self.js("return getComputedStyle(document.body).backgroundColor")
                self.contrast(scheme)
            self.assertNotEqual(grounds["light"], grounds["dark"])
            self.scheme("light")
            button = self.find("#theme")
            for expected in ("light", "dark"):  # the button wins over the system
                button.send_keys(Keys.ENTER)
                self.assertEqual(button.text, f"Theme: {expected}")
                self.assertEqual(self.js("return getComputedStyle(document.body).backgroundColor"), grounds[expected])
            self.browser.refresh()
            self.assertEqual(self.js("return getComputedStyle(document.body).backgroundColor"), grounds["dark"], "the choice is remembered")
            self.find("#theme").send_keys(Keys.ENTER)
            self.scheme("light", "reduce")
            self.assertEqual(self.js("return getComputedStyle(document.querySelector('.progress > div')).transitionDuration").split(",")[0], "0s")
            self.no_complaints()

    def contrast(self, scheme):
        """Text 4.5 to 1 on its ground, lines 3 to 1 (WCAG AA)."""
        low = self.js("""
            const root = getComputedStyle(document.documentElement), bad = [];
            const light = (hex) => { const v = [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16) / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
            const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
            const of = (name) => root.getPropertyValue(name).trim();
            const pairs = [["--ink", "--card", 4.5], ["--soft", "--card", 4.5], ["--soft", "--page", 4.5], ["--accent", "--info-back", 4.5], ["--good", "--good-back", 4.5], ["--warn", "--warn-back", 4.5], ["--bad", "--bad-back", 4.5], ["--warn", "--card", 4.5], ["--bad", "--card", 4.5]];
            for (const c of ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--fused"]) pairs.push([c, "--card", 3]);
            for (const [a, b, least] of pairs) if (ratio(of(a), of(b)) < least) bad.push(`${a} on ${b}: ${ratio(of(a), of(b)).toFixed(2)}`);
            return bad;""")
        self.assertEqual(low, [], scheme)

    def test_keyboard_and_names(self):
        with Publisher("keys", self.path("keys")) as run, Gateway(self.dir) as gateway:
            for number in range(1, 101):
                publish_step(run, number, norm=number * 1.0)
            wait_for(lambda: len(gateway.of_run("history", "keys")["step"]) == 100)
            run.validation(100, FIGURES, [[b + 1] * 36 for b in range(3)])
            run.status(state="training")
            self.browser.get(gateway.url)
            self.until("#progress-text", "Step 100")
            self.until_legend("norm", norm="100")
            order = []
            for _ in range(60):
                ActionChains(self.browser).send_keys(Keys.TAB).perform()
                name = self.js("const e = document.activeElement; return e === document.body ? null : (e.id || e.closest('[id]')?.id || e.className)")
                if name is None:
                    break
                order.append(name)
                self.assertTrue(self.js("const s = getComputedStyle(document.activeElement); return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1"), f"no visible focus on {name}")
            for name in ("run", "smooth", "theme", "chart-ratio", "chart-loss", "confusion-branch", "confusion", "events"):
                self.assertIn(name, order, "not reached by Tab")
            canvas = self.find("#chart-norm canvas")
            canvas.send_keys(Keys.ARROW_LEFT)
            self.until_legend("norm", norm="99")
            self.assertIn("step 99: norm 99", canvas.get_attribute("aria-label"))
            canvas.send_keys(Keys.HOME)
            self.until_legend("norm", norm="1")
            canvas.send_keys("+")
            wait_for(lambda: not self.js("return document.getElementById('reset').disabled"))
            canvas.send_keys(Keys.ESCAPE)
            wait_for(lambda: self.js("return document.getElementById('reset').disabled") and self.legend("norm") == {"norm": "100"})
            self.assertEqual(self.cells("confusion")[0][1], "3", "the fused branch first")
            self.js("document.querySelector('#confusion-branch [aria-checked=true]').focus()")
            ActionChains(self.browser).send_keys(Keys.ARROW_LEFT).perform()
            self.assertEqual(self.cells("confusion")[0][1], "2")
            self.assertEqual(self.js("return document.activeElement.textContent"), "text", "the focus goes along")
            nameless = self.js("""return [...document.querySelectorAll('button, select, canvas, table, [role]')].filter(e => e.offsetParent !== null)
                .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim() || e.closest('label'))).map(e => e.outerHTML.slice(0, 80))""")
            self.assertEqual(nameless, [])

    def test_a_token_becomes_a_cookie(self):
        with open(os.open(self.path("token"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("a-token-for-the-page")
        with Publisher("guarded", self.path("guarded")) as run, Gateway(self.dir, "--token-file", self.path("token")) as gateway:
            publish_step(run, 3)
            run.status(state="training")
            self.browser.get(gateway.url)
            self.assertIn("wants a token", self.text("body"))
            self.browser.get(gateway.url + "?token=a-token-for-the-page")
            self.until("#progress-text", "Step 3")
            self.assertNotIn("token", self.browser.current_url)
            self.assertEqual(self.js("return document.cookie"), "", "scripts do not see it")
            self.browser.delete_all_cookies()


if __name__ == "__main__":
    unittest.main()
