// What the page shows of a frame: the picture with heat and rings, the map, and what the network saw.

import type { Grid } from "../protocol";
import type { Result } from "./engine";
import { heatPixels, overlayPixels } from "./heat";
import type { Peak } from "./peaks";

export class View {
  private shown: { result: Result; grid: Grid; peaks: Peak[] } | undefined;
  private overlay = true;
  private readonly picture: CanvasRenderingContext2D;
  private readonly map: CanvasRenderingContext2D;
  private readonly input: CanvasRenderingContext2D;
  private readonly heat = document.createElement("canvas");

  constructor(picture: HTMLCanvasElement, map: HTMLCanvasElement, input: HTMLCanvasElement) {
    this.picture = picture.getContext("2d", { alpha: false })!;
    this.map = map.getContext("2d", { alpha: false })!;
    this.input = input.getContext("2d", { alpha: false })!;
  }

  /** Show the map on the picture, or the picture alone; also of the frame that is shown already. */
  setOverlay(overlay: boolean): void {
    this.overlay = overlay;
    if (this.shown !== undefined) this.drawPicture(this.shown.result, this.shown.grid, this.shown.peaks);
  }

  /** Show a frame; its bitmap is the view's from now on. */
  draw(result: Result, grid: Grid, peaks: Peak[]): void {
    this.shown?.result.bitmap.close();
    this.shown = { result, grid, peaks };
    put(this.map, grid, heatPixels(result.map));
    put(this.input, grid, opaque(result.input));
    this.drawPicture(result, grid, peaks);
  }

  private drawPicture({ bitmap, map }: Result, grid: Grid, peaks: Peak[]): void {
    resize(this.picture.canvas, bitmap.width, bitmap.height);
    this.picture.drawImage(bitmap, 0, 0);
    if (!this.overlay) return;
    put(this.heat.getContext("2d")!, grid, overlayPixels(map));
    this.picture.imageSmoothingQuality = "high";
    this.picture.drawImage(this.heat, 0, 0, bitmap.width, bitmap.height);
    for (const peak of peaks) this.drawRing(peak);
  }

  private drawRing({ x, y }: Peak): void {
    const { width, height } = this.picture.canvas;
    const unit = Math.max(1, Math.round(Math.min(width, height) / 400));
    for (const [colour, thickness] of [["#000", 3 * unit], ["#fff", unit]] as const) {
      this.picture.beginPath();
      this.picture.arc(x + 0.5, y + 0.5, 8 * unit, 0, 2 * Math.PI);
      this.picture.strokeStyle = colour;
      this.picture.lineWidth = thickness;
      this.picture.stroke();
    }
  }
}

function put(context: CanvasRenderingContext2D, grid: Grid, pixels: Uint8ClampedArray<ArrayBuffer>): void {
  resize(context.canvas, grid.columns, grid.rows);
  context.putImageData(new ImageData(pixels, grid.columns, grid.rows), 0, 0);
}

function resize(canvas: HTMLCanvasElement, width: number, height: number): void {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

function opaque(rgb: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray((4 * rgb.length) / 3).fill(255);
  for (let i = 0; i < rgb.length / 3; i++) pixels.set(rgb.subarray(3 * i, 3 * i + 3), 4 * i);
  return pixels;
}
