// The worker: frames in, maps out, one after the other, so that the page stays free for its user.

import type { Answer, Backend, Grid, Loaded, Request, Step } from "../protocol";
import { fetchBundle } from "./bundle";
import { networkInput } from "./preprocess";
import { createEngine } from "./runtime";
import { Stream } from "./stream";

const scope = self as unknown as DedicatedWorkerGlobalScope;
const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true })!;

let loaded: { stream: Stream; grid: Grid } | undefined;

async function load(folder: string, backend: Backend): Promise<Loaded> {
  const { contract, model } = await fetchBundle(folder);
  const engine = await createEngine(model, backend);
  loaded = { stream: new Stream(engine, contract), grid: contract.grid };
  return { bundle: contract.name, grid: contract.grid, backend, engine: engine.description };
}

async function step(bitmap: ImageBitmap): Promise<Step> {
  if (loaded === undefined) throw new Error("no bundle is loaded");
  const started = performance.now();
  const { data, width, height } = readPixels(bitmap);
  const read = performance.now();
  const input = networkInput(data, width, height, loaded.grid);
  const made = performance.now();
  const map = await loaded.stream.step(input);
  const times = { read: read - started, input: made - read, session: performance.now() - made };
  return { bitmap, input, map, times };
}

function readPixels(bitmap: ImageBitmap): ImageData {
  const { width, height } = bitmap;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, width, height);
}

async function answer(request: Request): Promise<void> {
  try {
    switch (request.kind) {
      case "load":
        return send({ id: request.id, value: await load(request.bundle, request.backend) });
      case "restart":
        loaded?.stream.restart();
        return send({ id: request.id, value: null });
      case "step": {
        const value = await step(request.bitmap);
        return send({ id: request.id, value }, [value.bitmap, value.input.buffer, value.map.buffer]);
      }
    }
  } catch (error) {
    send({ id: request.id, error: error instanceof Error ? error.message : String(error) });
  }
}

function send(message: Answer, transfer: Transferable[] = []): void {
  scope.postMessage(message, transfer);
}

// One request at a time: a step needs the state that the one before it leaves.
let last = Promise.resolve();
scope.onmessage = ({ data }: MessageEvent<Request>) => {
  last = last.then(() => answer(data));
};
