// Drives the page of `uva-edge view` in Chromium, as `node drive.mjs SCENARIO URL FOLDER`, and prints as JSON what it
// saw. It judges nothing: what must hold is said in test_page.py.

import { chromium } from "playwright-core";

const PATIENCE_MS = 30_000;

const text = (page, selector) => page.locator(selector).innerText();
const state = (page, wanted) => page.waitForSelector(`#state[data-state="${wanted}"]`, { timeout: PATIENCE_MS });
const facts = (page) => page.$$eval("#engine > div", (pairs) => Object.fromEntries(
  pairs.map((pair) => [pair.querySelector("dt").textContent, pair.querySelector("dd").textContent])));
const rows = (page, table) => page.$$eval(`${table} tbody tr`, (all) => all.map((row) =>
  [...row.cells].map((cell) => cell.textContent)));
const offers = (page, select) => page.$$eval(`${select} option`, (all) => all.map(({ value, disabled }) => ({ value, disabled })));
const pictureShown = (page) => page.waitForFunction(() => document.querySelectorAll("#history li").length > 0, null, { timeout: PATIENCE_MS });
const bundleShown = (page, name) => page.waitForFunction((wanted) =>
  document.querySelector("#engine dd")?.textContent.startsWith(wanted), name, { timeout: PATIENCE_MS });

// How many different colours a sparse grid of the canvas has: one, if nothing was drawn.
const colours = (page) => page.$eval("#picture", (canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const found = new Set();
  for (let at = 0; at < data.length; at += 4 * 97) found.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
  return found.size;
});

async function seen(page) {
  return {
    state: await text(page, "#state"), source: await text(page, "#source"), veil: await page.textContent("#veil"),
    fps: await text(page, "#fps"), given: await text(page, "#source-fps"), moment: await text(page, "#moment"), colours: await colours(page), engine: await facts(page),
    stages: await rows(page, "#stages"), peaks: await rows(page, "#peaks"),
    marks: await page.locator(".peak").count(), maps: await page.locator("#history li").count(),
    wide: await page.evaluate(() => document.documentElement.scrollWidth),
  };
}

const SCENARIOS = {
  async flight(page, url, folder) {
    await page.goto(url);
    await state(page, "running");
    await pictureShown(page);
    await page.waitForTimeout(3000);
    const found = { running: await seen(page), backends: await offers(page, "#backend"), explain: await page.textContent("#explain") };
    await page.screenshot({ path: `${folder}/1280.png`, fullPage: true });

    await page.selectOption("#bundle", "skd-32");
    await bundleShown(page, "skd-32");
    found.switched = await facts(page);

    // The greyed ones can't be chosen; somebody else's script can ask for them all the same.
    await page.$eval("#precision", (select) => { for (const option of select.options) option.disabled = false; });
    await page.selectOption("#precision", "bf16");
    await page.waitForSelector("#error:not([hidden])", { timeout: PATIENCE_MS });
    found.refused = { error: await text(page, "#error-words"), engine: await facts(page), chosen: await page.inputValue("#precision"), state: await text(page, "#state") };
    await page.click("#error-close");

    // By keyboard alone, from the top of the page: the first control that can be reached is Stop.
    await page.evaluate(() => { document.activeElement.blur(); window.getSelection().removeAllRanges(); });
    await page.locator("h1").click();
    await page.keyboard.press("Tab");
    found.focused = await page.evaluate(() => document.activeElement.id);
    await page.keyboard.press("Enter");
    await state(page, "stopped");
    found.stopped = await seen(page);
    await page.screenshot({ path: `${folder}/stopped.png` });
    await page.focus("#start");
    await page.keyboard.press("Enter");
    await state(page, "running");
    await pictureShown(page);

    await page.setViewportSize({ width: 390, height: 844 });
    await page.emulateMedia({ colorScheme: "dark" });
    await page.waitForTimeout(1500);
    found.narrow = await seen(page);
    await page.screenshot({ path: `${folder}/390.png`, fullPage: true });
    return found;
  },

  async still(page, url, folder) {
    await page.goto(url);
    await state(page, "ended");
    await pictureShown(page);
    await page.screenshot({ path: `${folder}/still.png` });
    return { ...(await seen(page)), markup: await page.locator("#source *").count() };
  },

  async failed(page, url, folder) {
    await page.goto(url);
    await state(page, "failed");
    await page.screenshot({ path: `${folder}/failed.png` });
    return { veil: await page.textContent("#veil"), state: await text(page, "#state"), start: await page.isEnabled("#start"), stop: await page.isEnabled("#stop") };
  },

  async token(page, url, folder) {
    const [plain, token] = url.split("?token=");
    await page.goto(plain);
    await page.screenshot({ path: `${folder}/token.png` });
    await page.fill("input[name=token]", "not-the-token-at-all");
    await page.press("input[name=token]", "Enter");
    await page.waitForURL("**/?token=*");
    const wrong = await page.locator("input[name=token]").count();
    await page.fill("input[name=token]", token);
    await page.click("button");
    await state(page, "stopped");
    return { wrong, address: page.url(), scripts: await page.evaluate(() => document.cookie) };
  },

  async lost(page, url, folder) {
    await page.goto(url);
    await state(page, "stopped");
    console.log("shown"); // the test ends the server now
    await state(page, "lost");
    await page.screenshot({ path: `${folder}/lost.png` });
    return { veil: await page.textContent("#veil"), start: await page.isEnabled("#start"), bundle: await page.isEnabled("#bundle") };
  },
};

const [scenario, url, folder] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  const asked = new Set();
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
  page.on("request", (request) => asked.add(new URL(request.url()).origin));
  const found = await SCENARIOS[scenario](page, url, folder);
  console.log(JSON.stringify({ ...found, complaints, asked: [...asked] }));
} finally {
  await browser.close();
}
