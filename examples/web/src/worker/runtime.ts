// ONNX Runtime for the browser: one build runs in WebAssembly, a larger one on WebGPU; each is loaded when asked for.

import type { InferenceSession, Tensor } from "onnxruntime-web/wasm";
import gpuModule from "onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs?url";
import gpuBinary from "onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url";
import cpuModule from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import cpuBinary from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";

import type { Backend } from "../protocol";

const MOST_THREADS = 4;

type Runtime = typeof import("onnxruntime-web/wasm");

export interface Engine {
  session: InferenceSession;
  Tensor: Runtime["Tensor"];
  /** What it really does, in words. */
  description: string;
}

export type { Tensor };

/** What keeps a backend from running here, in words. */
export class BackendError extends Error {}

/** Raises BackendError where this browser has no such backend: it never becomes another one. */
export async function createEngine(model: Uint8Array, backend: Backend): Promise<Engine> {
  return backend === "webgpu" ? onGpu(model) : onCpu(model, backend);
}

async function onCpu(model: Uint8Array, backend: "wasm" | "wasm-threads"): Promise<Engine> {
  const threads = backend === "wasm" ? 1 : Math.min(MOST_THREADS, navigator.hardwareConcurrency);
  if (backend === "wasm-threads" && !crossOriginIsolated) {
    throw new BackendError(
      "WASM with threads needs a page that is cross-origin isolated: the server has to send " +
        "Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp. " +
        "WASM with one thread runs without.",
    );
  }
  if (backend === "wasm-threads" && threads < 2) {
    throw new BackendError("This browser offers one processor core, nothing for threads: take WASM with one.");
  }
  const runtime = await import("onnxruntime-web/wasm");
  configure(runtime, cpuModule, cpuBinary, threads);
  const session = await createSession(runtime, model, "wasm");
  const used = runtime.env.wasm.numThreads ?? 1;
  const words = `WASM with SIMD, ${used} ${used === 1 ? "thread" : "threads"}, ${version(runtime)}`;
  return { session, Tensor: runtime.Tensor, description: words };
}

async function onGpu(model: Uint8Array): Promise<Engine> {
  if (!("gpu" in navigator)) {
    throw new BackendError("This browser has no WebGPU (navigator.gpu is missing). WASM runs everywhere.");
  }
  const adapter = await (navigator.gpu as Gpu).requestAdapter();
  if (adapter === null) {
    throw new BackendError("This browser knows WebGPU, but finds no GPU that it can use. WASM runs without one.");
  }
  const runtime = await import("onnxruntime-web/webgpu");
  configure(runtime, gpuModule, gpuBinary, 1);
  const session = await createSession(runtime, model, "webgpu");
  const { vendor, architecture, description } = adapter.info;
  const device = description || [vendor, architecture].filter(Boolean).join(" ") || "unnamed GPU";
  return { session, Tensor: runtime.Tensor, description: `WebGPU, ${device}, ${version(runtime)}` };
}

/** What is used of WebGPU, which TypeScript's own library does not have yet. */
interface Gpu {
  requestAdapter(): Promise<{ info: { vendor: string; architecture: string; description: string } } | null>;
}

function configure(runtime: Runtime, module: string, binary: string, threads: number): void {
  const { wasm } = runtime.env;
  wasm.wasmPaths = { mjs: new URL(module, self.location.href).href, wasm: new URL(binary, self.location.href).href };
  wasm.numThreads = threads;
  runtime.env.logLevel = "error";
}

async function createSession(runtime: Runtime, model: Uint8Array, provider: string): Promise<InferenceSession> {
  try {
    return await runtime.InferenceSession.create(model, { executionProviders: [provider] });
  } catch (error) {
    throw new BackendError(`ONNX Runtime could not load the model for ${provider}: ${String(error)}`);
  }
}

function version(runtime: Runtime): string {
  return `ONNX Runtime ${runtime.env.versions.web ?? runtime.env.versions.common}`;
}
