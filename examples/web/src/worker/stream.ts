// One stream of frames through the network: the state of the frame before goes with each.

import type { Contract } from "./bundle";
import { product } from "./bundle";
import type { Engine, Tensor } from "./runtime";

export class Stream {
  private state: Tensor | undefined;

  constructor(
    private readonly engine: Engine,
    private readonly contract: Contract,
  ) {}

  /** The next frame is a first one. */
  restart(): void {
    this.state = undefined;
  }

  /** The map, float32 [rows, columns], of a frame, uint8 [rows, columns, 3]. */
  async step(input: Uint8Array): Promise<Float32Array> {
    this.state ??= await this.firstState(input);
    const { maps, state } = await this.run(input, this.state);
    this.state = state;
    return (await maps.getData()) as Float32Array;
  }

  /** A stream's first frame is its own past: itself repeated, or the features that a step on it leaves behind. */
  private async firstState(input: Uint8Array): Promise<Tensor> {
    const { history, state } = this.contract;
    const count = product(state.shape);
    if (history > 0) {
      const frames = new Uint8Array(count);
      for (let i = 0; i < history; i++) frames.set(input, i * input.length);
      return this.tensor(frames, state.shape);
    }
    const nothing = state.dtype === "uint8" ? new Uint8Array(count) : new Float32Array(count);
    return (await this.run(input, this.tensor(nothing, state.shape))).state;
  }

  private async run(input: Uint8Array, state: Tensor): Promise<{ maps: Tensor; state: Tensor }> {
    const { grid, names } = this.contract;
    const frames = this.tensor(input, [1, grid.rows, grid.columns, 3]);
    const results = await this.engine.session.run({ [names.frames]: frames, [names.stateIn]: state });
    return { maps: results[names.maps]!, state: results[names.stateOut]! };
  }

  private tensor(data: Uint8Array | Float32Array, dims: number[]): Tensor {
    return data instanceof Uint8Array
      ? new this.engine.Tensor("uint8", data, dims)
      : new this.engine.Tensor("float32", data, dims);
  }
}
