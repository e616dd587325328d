// The network in a worker of its own, for a page that draws.

import type { Answer, Backend, Loaded, Request, Step, Times } from "../protocol";

export interface Result extends Step {
  /** `read` counts from asking for the picture to having its pixels. */
  times: Times;
}

/** What stops the engine, in words for the page's user. */
export class EngineError extends Error {}

type Waiting = { resolve: (value: never) => void; reject: (error: Error) => void };
type Body<T> = T extends { id: number } ? Omit<T, "id"> : never;

/** One network and one stream of frames. */
export class Engine {
  private readonly worker = new Worker(new URL("../worker/worker.ts", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, Waiting>();
  private count = 0;
  private ended: string | undefined;

  private constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => this.take(data);
    this.worker.onerror = ({ message }) => this.fail(`The worker stopped: ${message || "its code did not load"}.`);
  }

  /**
   * Load a bundle for a backend.
   *
   * @param bundle URL of the bundle's folder.
   * @throws EngineError what is wrong with the bundle, or why the backend can't run here.
   */
  static async load(bundle: string, backend: Backend): Promise<{ engine: Engine; loaded: Loaded }> {
    const engine = new Engine();
    try {
      const folder = new URL(bundle, document.baseURI).href;
      const loaded = await engine.ask<Loaded>({ kind: "load", bundle: folder, backend });
      return { engine, loaded };
    } catch (error) {
      engine.close();
      throw error;
    }
  }

  /** The next frame starts a stream. */
  async restart(): Promise<void> {
    await this.ask<null>({ kind: "restart" });
  }

  /**
   * The map of a picture, which follows the one before it.
   *
   * @throws EngineError the engine failed or was closed.
   */
  async step(picture: ImageBitmapSource): Promise<Result> {
    const started = performance.now();
    const bitmap = await createImageBitmap(picture);
    const captured = performance.now() - started;
    const { times, ...rest } = await this.ask<Step>({ kind: "step", bitmap }, [bitmap]);
    return { ...rest, times: { ...times, read: captured + times.read } };
  }

  /** Free all of it; what is under way fails. */
  close(): void {
    this.worker.terminate();
    this.fail("The engine was closed.");
  }

  private ask<T extends Loaded | Step | null>(body: Body<Request>, transfer: Transferable[] = []): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.ended !== undefined) return reject(new EngineError(this.ended));
      const id = this.count++;
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ ...body, id }, transfer);
    });
  }

  private take(answer: Answer): void {
    const waiting = this.waiting.get(answer.id);
    this.waiting.delete(answer.id);
    if ("error" in answer) waiting?.reject(new EngineError(answer.error));
    else waiting?.resolve(answer.value as never);
  }

  private fail(message: string): void {
    this.ended ??= message;
    const all = [...this.waiting.values()];
    this.waiting.clear();
    for (const { reject } of all) reject(new EngineError(message));
  }
}
