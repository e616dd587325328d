// Saliency as colour: inferno, as the overlays of uva_edge have it.

// OpenCV's COLORMAP_INFERNO at every 17th level; between them colours are interpolated.
const STOPS = [
  0x000004, 0x0c0826, 0x240c4f, 0x420a68, 0x5d126e, 0x781c6d, 0x932667, 0xae305c, 0xc73e4c, 0xdd513a, 0xed6925,
  0xf8850f, 0xfca50a, 0xfac62d, 0xf2e661, 0xfcffa4,
];
const STEP = 17;

const COLOURS = Uint8ClampedArray.from({ length: 3 * 256 }, (_, i) => {
  const level = Math.floor(i / 3);
  const stop = Math.floor(level / STEP);
  const channel = (at: number) => (STOPS[Math.min(at, STOPS.length - 1)]! >> (8 * (2 - (i % 3)))) & 255;
  const part = (level % STEP) / STEP;
  return channel(stop) * (1 - part) + channel(stop + 1) * part;
});

/** The map's colours, opaque. */
export function heatPixels(map: Float32Array): Uint8ClampedArray<ArrayBuffer> {
  return paint(map, () => 255);
}

/** The map to lay over a picture: nothing where saliency is 0, half opaque where it is 1. */
export function overlayPixels(map: Float32Array): Uint8ClampedArray<ArrayBuffer> {
  return paint(map, (saliency) => 0.5 * 255 * saliency * (2 - saliency));
}

function paint(map: Float32Array, opacity: (saliency: number) => number): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(4 * map.length);
  map.forEach((value, i) => {
    const saliency = Math.min(Math.max(value, 0), 1);
    const colour = 3 * Math.round(255 * saliency);
    pixels.set(COLOURS.subarray(colour, colour + 3), 4 * i);
    pixels[4 * i + 3] = opacity(saliency);
  });
  return pixels;
}
