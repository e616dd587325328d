// A bundle as the page gets it: its manifest, and the model that the manifest vouches for.

import type { Grid } from "../protocol";

const SCHEMA_VERSION = 1;
const MAX_MANIFEST_BYTES = 1 << 20;
const MAX_MODEL_BYTES = 512 << 20;
const MAX_SIDE = 4096;
const MAX_STATE_ELEMENTS = 1 << 26;

/** The part of bundle.json that running the model takes. */
export interface Contract {
  name: string;
  grid: Grid;
  /** The shape of the state, float32. */
  state: number[];
  names: { frames: string; stateIn: string; maps: string; stateOut: string };
  model: { path: string; bytes: number; sha256: string };
}

/** What is wrong with a bundle, in words. */
export class BundleError extends Error {}

/** Fetch `folder`/bundle.json and the model that it names; the bytes returned are those that were hashed. */
export async function fetchBundle(folder: string): Promise<{ contract: Contract; model: Uint8Array }> {
  const manifest = await fetchBytes(`${folder}/bundle.json`, MAX_MANIFEST_BYTES);
  const contract = readManifest(new TextDecoder().decode(manifest));
  const { path, bytes, sha256 } = contract.model;
  const url = `${folder}/${path}`;
  const model = await fetchBytes(url, bytes);
  const digest = await sha256Of(model);
  if (model.length !== bytes || digest !== sha256) {
    await forget(url);
    const [expected, got] =
      model.length !== bytes
        ? [`${bytes} bytes`, model.length > bytes ? "more" : `${model.length}`]
        : [`SHA-256 ${sha256.slice(0, 16)}…`, `${digest.slice(0, 16)}…`];
    throw new BundleError(
      `The model file ${path} is damaged: expected ${expected}, got ${got}. Reload the page to fetch it again; ` +
        "if that does not help, build the page again and copy all of dist.",
    );
  }
  return { contract, model };
}

/** Drop what the service worker has kept of a file, so that the server is asked for it again. */
async function forget(url: string): Promise<void> {
  for (const name of await caches.keys()) await (await caches.open(name)).delete(url);
}

async function fetchBytes(url: string, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  let response: Response;
  try {
    response = await fetch(url, { cache: "no-cache" });
  } catch {
    throw new BundleError(
      `${url} can't be reached, and this browser has not kept it: load the page once with a connection.`,
    );
  }
  if (!response.ok) {
    throw new BundleError(`${url}: the server answers ${response.status}. Build the page again and copy all of dist.`);
  }
  const reader = response.body!.getReader();
  const parts: Uint8Array[] = [];
  let size = 0;
  // One byte too many is enough to see that a file is too long.
  for (let part = await reader.read(); !part.done && size <= limit; part = await reader.read()) {
    parts.push(part.value);
    size += part.value.length;
  }
  await reader.cancel();
  const all = new Uint8Array(size);
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}

async function sha256Of(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (!isSecureContext) {
    throw new BundleError("Browsers check SHA-256 on pages from https or localhost alone: open the page from there.");
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// --- reading bundle.json: untrusted, so nothing is taken for granted ------------------------------------

type Json = Record<string, unknown>;

/** Raises BundleError for what is no manifest of schema 1, and for networks of other states than UVA-Net's. */
export function readManifest(text: string): Contract {
  let manifest: unknown;
  try {
    manifest = JSON.parse(text);
  } catch {
    throw new BundleError("bundle.json is no JSON. Build the page again and copy all of dist.");
  }
  const root = object(manifest, "bundle.json");
  expect(root.schema_version === SCHEMA_VERSION, `schema_version ${SCHEMA_VERSION}`, root.schema_version);
  const contract = object(root.contract, "contract");
  expect(contract.pairing === "causal", 'pairing "causal", each frame with the one before it', contract.pairing);
  const [frames, stateIn, maps, stateOut] = ["frames", "state_in", "maps", "state_out"].map((name) =>
    object(contract[name], name),
  ) as [Json, Json, Json, Json];
  const [time, rows, columns, channels] = list(frames.shape, "frames.shape");
  expect(time === "T" && side(rows) && side(columns) && channels === 3, 'frames of shape ["T", R, C, 3]', frames.shape);
  const state = list(stateIn.shape, "state_in.shape") as number[];
  expect(stateIn.dtype === "float32", "a state of float32", stateIn.dtype);
  expect(
    state.length <= 8 && state.every(side) && product(state) <= MAX_STATE_ELEMENTS,
    `a state of at most ${MAX_STATE_ELEMENTS} numbers`,
    stateIn.shape,
  );
  return {
    name: string(root.name, "name"),
    grid: { rows: rows as number, columns: columns as number },
    state,
    names: {
      frames: string(frames.name, "frames.name"),
      stateIn: string(stateIn.name, "state_in.name"),
      maps: string(maps.name, "maps.name"),
      stateOut: string(stateOut.name, "state_out.name"),
    },
    model: modelFile(list(root.artifacts, "artifacts")),
  };
}

function modelFile(artifacts: unknown[]): Contract["model"] {
  const artifact = artifacts
    .map((value) => object(value, "an artifact"))
    .find(({ format, precision, frames }) => format === "onnx" && precision === "fp32" && frames === 1);
  expect(artifact !== undefined, "a float32 ONNX artifact for one frame", "none");
  const files = list(artifact!.files, "files");
  expect(files.length === 1, "one file of ONNX", `${files.length} files`);
  const file = object(files[0], "a file");
  const path = string(file.path, "path");
  expect(/^\w[\w.+-]*(\/\w[\w.+-]*)*$/.test(path), "a path within the bundle", path);
  const sha256 = string(file.sha256, "sha256");
  expect(/^[0-9a-f]{64}$/.test(sha256), "64 hex digits of SHA-256", sha256);
  const bytes = file.bytes as number;
  expect(Number.isInteger(bytes) && bytes > 0 && bytes <= MAX_MODEL_BYTES, `up to ${MAX_MODEL_BYTES} bytes`, bytes);
  return { path, bytes, sha256 };
}

export function product(shape: number[]): number {
  return shape.reduce((all, one) => all * one, 1);
}

function side(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_SIDE;
}

function object(value: unknown, what: string): Json {
  expect(typeof value === "object" && value !== null && !Array.isArray(value), `${what}: an object`, value);
  return value as Json;
}

function list(value: unknown, what: string): unknown[] {
  expect(Array.isArray(value), `${what}: a list`, value);
  return value as unknown[];
}

function string(value: unknown, what: string): string {
  expect(typeof value === "string" && value.length <= 200, `${what}: a short text`, value);
  return value as string;
}

function expect(holds: boolean, expected: string, got: unknown): void {
  if (!holds) {
    const shown = (JSON.stringify(got) ?? "nothing").slice(0, 80);
    throw new BundleError(`bundle.json can't be used here: expected ${expected}, got ${shown}.`);
  }
}
