// The page's connection, its status and its controls. What the board says is put in as text, never as HTML.

import { History, Stage, readPicture } from "/picture.js";

const byId = (id) => document.getElementById(id);
const stage = new Stage(byId("picture"), byId("peaks-on-picture"));
const past = new History(byId("history"));
const STAGES = ["read", "predict", "draw", "encode"];
const RETRY_MS = [500, 1000, 2000, 4000];
const STATES = {
  connecting: "connecting", lost: "connection lost", stopped: "stopped", starting: "starting", running: "running",
  stopping: "stopping", ended: "ended", failed: "failed",
};

let socket = null;
let tries = 0;
let status = null;
let lastSerial = 0;
let notShown = 0;
let drawing = Promise.resolve();

// --- connection

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { tries = 0; lastSerial = 0; };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") onText(JSON.parse(data));
    else drawing = drawing.then(() => onPicture(data)).catch((error) => console.error(error));
  };
  socket.onclose = ({ reason }) => {
    status = null;
    showState("lost", reason || "The board does not answer. Trying again\u2026");
    enableControls();
    setTimeout(connect, RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]);
  };
}

function send(command) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(command));
}

// --- pictures

async function onPicture(data) {
  const { header, parts } = readPicture(data);
  const [overlay, map] = await Promise.all(parts.map((part) => createImageBitmap(part)));
  stage.draw(overlay, header);
  past.add(map, header, performance.now() / 1000);
  overlay.close();
  map.close();
  if (lastSerial && header.serial > lastSerial) notShown += header.serial - lastSerial - 1;
  lastSerial = header.serial;
  send({ do: "seen", serial: header.serial }); // only now: a slow page gets fewer pictures, not older ones
  showNumbers(header);
}

function showNumbers(header) {
  byId("fps").textContent = `${header.fps.toFixed(1)} FPS`;
  byId("source-fps").textContent = `${header.source_fps.toFixed(1)} FPS`;
  byId("moment").textContent = `frame ${header.frame}, ${header.time.toFixed(2)} s${named(header.name)}`;
  byId("dropped").textContent = counted(header.dropped, "frame");
  byId("not-shown").textContent = counted(notShown, "picture");
  const all = STAGES.map((name) => header.stages[name]);
  const most = Math.max(1e-3, ...all.flatMap((times) => times ?? []));
  byId("stages").tBodies[0].replaceChildren(...STAGES.map((name, index) => stageRow(name, all[index], most)));
  byId("peaks").tBodies[0].replaceChildren(...header.peaks.map((peak, index) => row(
    [index + 1, peak.x.toFixed(0), peak.y.toFixed(0), peak.value.toFixed(2)])));
}

function counted(count, thing) {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

// Of a folder of images each has its name; a video's is in the page's head already.
function named(name) {
  return name && name !== status?.source?.name ? `, ${name}` : "";
}

function stageRow(name, times, most) {
  const bar = element("div", "", "bar");
  for (const value of times ? [times[1], times[0]] : []) {
    const part = document.createElement("i");
    part.style.width = `${(100 * value) / most}%`;
    bar.append(part);
  }
  const label = name === "read" && status?.source?.live ? "read, wait" : name;
  return row([label, bar, ...(times ?? [null, null]).map((value) => (value === null ? "\u2013" : value.toFixed(2)))]);
}

// --- status

function onText(message) {
  if (message.type === "error") showError(message.message);
  if (message.type !== "status") return;
  const before = status;
  status = message;
  if (before && before.state !== "running" && status.state === "starting") { past.clear(); notShown = 0; }
  showSource(status.source);
  showState(status.state, veilWords(status), status.remark);
  showEngine(status.engine);
  showOffers(status.offers, status.engine.asked);
  enableControls();
}

function veilWords({ state, remark, switching }) {
  if (switching) return `Switching to ${switching}\u2026`;
  if (state === "starting") return "Opening the source\u2026";
  if (state === "failed") return `${remark}\n\nStart tries again.`;
  if (state === "stopped") return "Stopped. Start opens the source again.";
  return "";
}

function showState(state, veil, remark = "") {
  const pill = byId("state");
  pill.dataset.state = state;
  pill.textContent = STATES[state] + (remark && state !== "failed" ? `: ${remark}` : "");
  byId("veil").textContent = veil;
  byId("veil").hidden = !veil;
}

function showSource(source) {
  if (!source) return;
  const [width, height] = source.size;
  const rate = source.fps ? `${source.fps.toFixed(1)} FPS` : "no rate of its own";
  const facts = [source.name, `${width}\u00d7${height}`, source.kind === "image" ? "" : rate, source.plays];
  byId("source").textContent = facts.filter(Boolean).join(", ");
}

function showEngine(engine) {
  const facts = [
    ["bundle", `${engine.bundle}, ${engine.grid.join("\u00d7")}`], ["backend", engine.backend],
    ["precision", engine.precision], ["threads", engine.threads], ["artifact", engine.artifact],
    ["device", engine.device], ["engine", engine.engine],
  ];
  byId("engine").replaceChildren(...facts.map(([name, value]) => {
    const pair = element("div", "", name === "engine" ? "wide" : "");
    pair.append(element("dt", name), element("dd", String(value)));
    return pair;
  }));
  byId("explain").replaceChildren(...engine.explain.map((line) => element("li", line)));
}

function showOffers(offers, asked) {
  fill(byId("bundle"), offers.bundles.map((name) => [name, ""]), asked.bundle);
  fill(byId("backend"), Object.entries(offers.backends), asked.backend);
  fill(byId("precision"), Object.entries(offers.precisions), asked.precision);
  const refused = [...Object.entries(offers.backends), ...Object.entries(offers.precisions)].filter(([, why]) => why);
  byId("refused").replaceChildren(...refused.map(([name, why]) => element("li", `${name}: ${why}`)));
}

function fill(select, offers, chosen) {
  select.replaceChildren(...offers.map(([name, why]) => {
    const option = element("option", why ? `${name} (can't run here)` : name);
    option.value = name;
    option.disabled = Boolean(why) && name !== chosen;
    option.title = why;
    return option;
  }));
  select.value = chosen;
}

// --- controls

function enableControls() {
  const state = status?.state;
  byId("start").disabled = !["stopped", "ended", "failed"].includes(state);
  byId("stop").disabled = !["starting", "running"].includes(state);
  for (const id of ["bundle", "backend", "precision"]) byId(id).disabled = !status || Boolean(status.switching);
}

function showError(words) {
  byId("error-words").textContent = words;
  byId("error").hidden = !words;
  if (words && status) showOffers(status.offers, status.engine.asked);
}

function element(kind, text, name = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function row(cells) {
  const made = document.createElement("tr");
  made.append(...cells.map((cell, index) => {
    const holder = document.createElement(index ? "td" : "th");
    if (!index) holder.scope = "row";
    holder.append(cell);
    return holder;
  }));
  return made;
}

byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("start").addEventListener("click", () => send({ do: "start" }));
byId("stop").addEventListener("click", () => send({ do: "stop" }));
byId("error-close").addEventListener("click", () => showError(""));
for (const id of ["bundle", "backend", "precision"]) {
  byId(id).addEventListener("change", () => {
    showError("");
    send({ do: "switch", ...Object.fromEntries(["bundle", "backend", "precision"].map((name) => [name, byId(name).value])) });
  });
}
enableControls();
connect();
