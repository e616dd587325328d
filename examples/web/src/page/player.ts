// The loop: the newest frame of the source, through the engine, onto the page.

import type { Loaded } from "../protocol";
import { type Engine, EngineError } from "./engine";
import { Meter } from "./meter";
import { findPeaks, type Peak } from "./peaks";
import { type Source, SourceError } from "./sources";
import type { View } from "./view";

interface Running {
  engine: Engine;
  loaded: Loaded;
}

export class Player {
  readonly meter = new Meter();
  peaks: Peak[] = [];
  /** Frames shown since the source or the engine changed. */
  frames = 0;
  private source: Source | undefined;
  private engine: Running | undefined;
  private run = 0;
  private paused = false;

  constructor(
    private readonly view: View,
    private readonly report: (problem: string) => void,
  ) {}

  /** Play this source from now on, and close the one before. */
  setSource(source: Source): void {
    this.source?.close();
    this.source = source;
    this.start();
  }

  /** Take this engine from now on, and close the one before. */
  setEngine(engine: Running | undefined): void {
    this.engine?.engine.close();
    this.engine = engine;
    this.start();
  }

  setPaused(paused: boolean): void {
    this.paused = paused;
    if (!paused) this.start();
  }

  private start(): void {
    this.run++;
    this.frames = 0;
    this.meter.clear();
    if (this.source !== undefined && this.engine !== undefined && !this.paused) {
      this.source.rewind();
      void this.play(this.run, this.source, this.engine);
    }
  }

  private async play(run: number, source: Source, { engine, loaded }: Running): Promise<void> {
    const current = () => this.run === run && !this.paused;
    let begins = true; // the engine may know frames of another source
    try {
      while (current()) {
        const { picture, first } = await source.next();
        if (!current()) return;
        const started = performance.now();
        if (begins || first) await engine.restart();
        begins = false;
        const result = await engine.step(picture);
        if (current()) this.show(result, loaded, started);
        else result.bitmap.close();
      }
    } catch (error) {
      if (this.run !== run) return; // closed on purpose
      if (!(error instanceof SourceError || error instanceof EngineError)) console.error(error);
      this.report(error instanceof Error ? error.message : String(error));
    }
  }

  private show(result: Awaited<ReturnType<Engine["step"]>>, { grid }: Loaded, started: number): void {
    const begun = performance.now();
    this.peaks = findPeaks(result.map, grid, result.bitmap);
    this.view.draw(result, grid, this.peaks);
    const ended = performance.now();
    this.meter.add({ ...result.times, draw: ended - begun, total: ended - started });
    this.frames++;
  }
}
