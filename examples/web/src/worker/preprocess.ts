// The one way from a frame to the network's input, as uva_edge/preprocess.py defines it, bit for bit.

import type { Grid } from "../protocol";

const OVERSAMPLING = 4;

/**
 * uint8 [rows, columns, 3] RGB from the RGBA pixels of a frame; alpha is not looked at.
 *
 * Samples a grid of 4 x 4 pixels a cell at the cell centres, `floor((2 i + 1) length / (8 cells))`, and averages
 * each cell with rounding.
 */
export function networkInput(
  pixels: Uint8ClampedArray,
  width: number,
  height: number,
  { rows, columns }: Grid,
): Uint8Array {
  if (width < 1 || height < 1 || pixels.length !== 4 * width * height) {
    throw new RangeError(`expected RGBA pixels of a ${width}x${height} frame, got ${pixels.length} bytes`);
  }
  const input = new Uint8Array(3 * rows * columns);
  const offsets = samplePositions(width, columns).map((x) => 4 * x);
  const ys = samplePositions(height, rows);
  const sums = new Uint16Array(3 * columns);
  for (let row = 0; row < rows; row++) {
    sums.fill(OVERSAMPLING ** 2 / 2); // half of what is divided by, so that the division rounds
    for (let sample = 0; sample < OVERSAMPLING; sample++) {
      addSamples(sums, pixels, 4 * width * ys[OVERSAMPLING * row + sample]!, offsets);
    }
    const start = 3 * columns * row;
    for (let i = 0; i < sums.length; i++) input[start + i] = sums[i]! >> 4;
  }
  return input;
}

/** The rows or columns of a frame of that length which are sampled, ascending. */
function samplePositions(length: number, cells: number): Uint32Array {
  const count = OVERSAMPLING * cells;
  return Uint32Array.from({ length: count }, (_, i) => Math.floor(((2 * i + 1) * length) / (2 * count)));
}

function addSamples(sums: Uint16Array, pixels: Uint8ClampedArray, line: number, offsets: Uint32Array): void {
  for (let i = 0; i < offsets.length; i++) {
    const at = line + offsets[i]!;
    const sum = 3 * (i >> 2);
    sums[sum]! += pixels[at]!;
    sums[sum + 1]! += pixels[at + 1]!;
    sums[sum + 2]! += pixels[at + 2]!;
  }
}
