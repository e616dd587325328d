// One stream of frames through the network: the state of the frame before goes with each.

import { BundleError, type Contract, product } from "./bundle";
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

  /** A stream's first frame is its own past: its state is what a step on it leaves behind. */
  private async firstState(input: Uint8Array): Promise<Tensor> {
    const { state } = this.contract;
    const nothing = new this.engine.Tensor("float32", new Float32Array(product(state)), state);
    return (await this.run(input, nothing)).state;
  }

  private async run(input: Uint8Array, before: Tensor): Promise<{ maps: Tensor; state: Tensor }> {
    const { grid, names } = this.contract;
    const frames = new this.engine.Tensor("uint8", input, [1, grid.rows, grid.columns, 3]);
    const results = await this.engine.session.run({ [names.frames]: frames, [names.stateIn]: before });
    const maps = results[names.maps];
    const state = results[names.stateOut];
    if (maps?.size !== grid.rows * grid.columns || state?.size !== before.size) {
      throw new BundleError("The model does not compute what its manifest says. Export the bundle again.");
    }
    return { maps, state };
  }
}
