// The page: its controls, and what it says.

import type { Backend, Loaded } from "../protocol";
import { Engine } from "./engine";
import { STAGES } from "./meter";
import { keepOffline } from "./offline";
import { findPeaks } from "./peaks";
import { Player } from "./player";
import { openCamera, openFile, SceneSource, type Source } from "./sources";
import "./style.css";
import { View } from "./view";

const BUNDLES = "bundles";
const PREFERRED = "uva-64";
const REFRESH = 250; // ms between changes of the numbers, so that they can be read
const STAGE_WORDS = {
  read: "read pixels",
  input: "make input",
  session: "run network",
  draw: "draw",
  total: "all, start to end",
} as const;

declare global {
  interface Window {
    /** For the console, and for pages of your own that start from this one. */
    uvaEdge: { Engine: typeof Engine; findPeaks: typeof findPeaks };
  }
}
window.uvaEdge = { Engine, findPeaks };

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const bundles = element<HTMLSelectElement>("bundle");
const backends = element<HTMLSelectElement>("backend");
const pause = element<HTMLButtonElement>("pause");
const fileInput = element<HTMLInputElement>("file-input");
const view = new View(element("picture"), element("map"), element("input"));
const player = new Player(view, showProblem);
let sourceName = "";
let engineProblem: string | undefined;
// Loading and opening take time, in which the user may choose again: only the last choice counts.
let enginesAsked = 0;
let sourcesAsked = 0;

// --- what runs --------------------------------------------------------------------------------------------

/** Load what the controls say; a backend that can't run here is a problem that is shown, never another backend. */
async function loadEngine(): Promise<void> {
  const turn = ++enginesAsked;
  const backend = backends.value as Backend;
  engineProblem = undefined;
  hideProblem();
  say(`Loading ${bundles.value}…`);
  element("engine").textContent = "–";
  player.setEngine(undefined);
  try {
    const made = await Engine.load(`${BUNDLES}/${bundles.value}`, backend);
    if (turn !== enginesAsked) return made.engine.close();
    player.setEngine(made);
    showEngine(made.loaded);
  } catch (error) {
    if (turn !== enginesAsked) return;
    engineProblem = words(error);
    say("Nothing runs.");
    showProblem(engineProblem, backend !== "wasm");
  }
}

async function chooseSource(button: string, open: () => Source | Promise<Source>): Promise<void> {
  const turn = ++sourcesAsked;
  if (engineProblem === undefined) hideProblem();
  try {
    const source = await open();
    if (turn !== sourcesAsked) return source.close();
    player.setSource(source);
    sourceName = source.name;
    setPaused(false);
    for (const id of ["scene", "camera", "file"]) setPressed(id, id === button);
  } catch (error) {
    if (turn === sourcesAsked) showProblem(words(error));
  }
}

function setPaused(paused: boolean): void {
  player.setPaused(paused);
  setPressed("pause", paused);
}

// --- what is said -----------------------------------------------------------------------------------------

function showEngine({ engine, grid }: Loaded): void {
  element("engine").textContent = engine;
  for (const place of document.querySelectorAll(".grid")) place.textContent = `${grid.columns}x${grid.rows}`;
  say("Ready.");
}

function showNumbers(): void {
  const fps = player.meter.fps();
  element("fps").textContent = fps === undefined ? "–" : fps.toFixed(fps < 10 ? 1 : 0);
  const rows = STAGES.map((stage) => {
    const sample = player.meter.stage(stage);
    return [STAGE_WORDS[stage], sample?.p50.toFixed(1) ?? "–", sample?.last.toFixed(1) ?? "–"];
  });
  fill(element("stages"), rows);
  fill(
    element("peak-rows"),
    player.peaks.map(({ x, y, value }, i) => [`${i + 1}`, x.toFixed(0), y.toFixed(0), value.toFixed(2)]),
  );
  if (player.frames > 0) {
    const { width, height } = element<HTMLCanvasElement>("picture");
    say(`${sourceName}, ${width}x${height} pixels`);
  }
}

function fill(body: HTMLElement, rows: string[][]): void {
  body.replaceChildren(
    ...rows.map((cells) => {
      const row = document.createElement("tr");
      row.append(
        ...cells.map((text, i) => {
          const cell = document.createElement(i === 0 ? "th" : "td");
          if (cell.tagName === "TH") cell.setAttribute("scope", "row");
          cell.textContent = text;
          return cell;
        }),
      );
      return row;
    }),
  );
}

function say(text: string): void {
  const place = element("picture-words");
  if (place.textContent !== text) place.textContent = text; // a screen reader says each change
}

function showProblem(text: string, offerWasm = false): void {
  element("problem-words").textContent = text;
  element("use-wasm").hidden = !offerWasm;
  element("problem").hidden = false;
}

function hideProblem(): void {
  element("problem").hidden = true;
}

function setPressed(id: string, pressed: boolean): void {
  element(id).setAttribute("aria-pressed", String(pressed));
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

// --- controls ---------------------------------------------------------------------------------------------

element("scene").onclick = () => chooseSource("scene", () => new SceneSource());
element("camera").onclick = () => chooseSource("camera", openCamera);
element("file").onclick = () => fileInput.click();
fileInput.onchange = () => {
  const file = fileInput.files?.[0];
  fileInput.value = ""; // the same file may be chosen again
  if (file !== undefined) void chooseSource("file", () => openFile(file));
};
bundles.onchange = loadEngine;
backends.onchange = loadEngine;
element("use-wasm").onclick = () => {
  backends.value = "wasm";
  void loadEngine();
};
element<HTMLInputElement>("overlay").onchange = ({ target }) => {
  view.setOverlay((target as HTMLInputElement).checked);
};
pause.onclick = () => setPaused(pause.getAttribute("aria-pressed") !== "true");
element("controls").onsubmit = (event) => event.preventDefault();

/** A choice of the address wins where it is one: `?bundle=uva-32&backend=webgpu`. */
function choose(select: HTMLSelectElement, name: string, otherwise: string): void {
  const values = [...select.options].map(({ value }) => value);
  const wished = new URLSearchParams(location.search).get(name) ?? "";
  select.value = [wished, otherwise, values[0]!].find((value) => values.includes(value))!;
}

async function start(): Promise<void> {
  setInterval(showNumbers, REFRESH);
  void keepOffline((text) => (element("offline").textContent = text));
  try {
    const names = (await (await fetch(`${BUNDLES}/index.json`)).json()) as string[];
    bundles.replaceChildren(...names.map((name) => new Option(name, name)));
  } catch {
    return showProblem("The list of networks could not be loaded: build the page again and copy all of dist.");
  }
  choose(bundles, "bundle", PREFERRED);
  choose(backends, "backend", "wasm");
  await chooseSource("scene", () => new SceneSource());
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) setPaused(true);
  await loadEngine();
}

void start();
