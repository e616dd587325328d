// Drives Chromium for browser.py: one JSON command a line in, one JSON answer a line out.
//
//     node browser.mjs PROJECT CHROMIUM [FLAG...]
//
// PROJECT is a folder whose node_modules has playwright-core.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [project, chromium, ...flags] = process.argv.slice(2);
const playwright = createRequire(`${project}/package.json`)("playwright-core");

const browser = await playwright.chromium.launch({ executablePath: chromium, args: flags });
let page;
let said = [];
let asked = [];

const commands = {
  async context({ options, permissions }) {
    await page?.context().close();
    const context = await browser.newContext(options);
    await context.grantPermissions(permissions);
    page = await context.newPage();
    said = [];
    asked = [];
    context.on("request", (request) => asked.push(request.url()));
    page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => said.push(`pageerror: ${error.message}`));
  },
  goto: ({ url }) => page.goto(url, { timeout: 30_000 }).then(() => null),
  evaluate: ({ script, argument }) => page.evaluate(`(${script})(${JSON.stringify(argument)})`),
  wait: ({ script, seconds }) =>
    page.waitForFunction(`(${script})()`, null, { timeout: 1000 * seconds }).then((found) => found.jsonValue()),
  choose: ({ selector, path }) => page.setInputFiles(selector, path),
  press: ({ key }) => page.keyboard.press(key),
  size: ({ width, height }) => page.setViewportSize({ width, height }),
  screenshot: ({ path }) => page.screenshot({ path, fullPage: true }).then(() => null),
  said: async () => said,
  asked: async () => asked,
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await commands[command](given)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
