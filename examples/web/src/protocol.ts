// What the page and its worker say to each other.

export type Backend = "wasm" | "wasm-threads" | "webgpu";

/** Rows and columns of the network's input and of its map. */
export interface Grid {
  rows: number;
  columns: number;
}

/** What was loaded, and what the engine really does. */
export interface Loaded {
  bundle: string;
  grid: Grid;
  backend: Backend;
  /** Engine, version, device and threads in words. */
  engine: string;
}

/** Milliseconds that the stages of one frame took. */
export interface Times {
  read: number;
  input: number;
  session: number;
}

/** What one frame gave; all of it is the receiver's. */
export interface Step {
  /** The frame itself, given back. */
  bitmap: ImageBitmap;
  /** uint8 [rows, columns, 3], RGB: what the network saw. */
  input: Uint8Array;
  /** float32 [rows, columns] in [0, 1]. */
  map: Float32Array;
  times: Times;
}

export type Request =
  | { kind: "load"; id: number; bundle: string; backend: Backend }
  | { kind: "restart"; id: number }
  | { kind: "step"; id: number; bitmap: ImageBitmap };

export type Answer = { id: number; value: Loaded | Step | null } | { id: number; error: string };
