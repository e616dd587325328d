// How long the stages of a frame take, over the last frames.

import type { Times } from "../protocol";

export const STAGES = ["read", "input", "session", "draw", "total"] as const;
export type Stage = (typeof STAGES)[number];

const KEPT = 120;

export class Meter {
  private readonly ended: number[] = [];
  private readonly samples = new Map<Stage, number[]>(STAGES.map((stage) => [stage, []]));

  /** A frame is done: milliseconds of its stages, and of all from asking for the picture to having drawn it. */
  add(times: Times & { draw: number; total: number }): void {
    push(this.ended, performance.now());
    for (const stage of STAGES) push(this.samples.get(stage)!, times[stage]);
  }

  clear(): void {
    this.ended.length = 0;
    for (const samples of this.samples.values()) samples.length = 0;
  }

  /** Frames a second over the last frames; undefined before the second one. */
  fps(): number | undefined {
    const span = this.ended.at(-1)! - this.ended[0]!;
    return span > 0 ? (1000 * (this.ended.length - 1)) / span : undefined;
  }

  /** The median of the last frames and the last one, in milliseconds; undefined where there is none. */
  stage(stage: Stage): { p50: number; last: number } | undefined {
    const samples = this.samples.get(stage)!;
    if (samples.length === 0) return undefined;
    const sorted = [...samples].sort((a, b) => a - b);
    return { p50: sorted[Math.floor((sorted.length - 1) / 2)]!, last: samples.at(-1)! };
  }
}

function push(samples: number[], sample: number): void {
  samples.push(sample);
  if (samples.length > KEPT) samples.shift();
}
