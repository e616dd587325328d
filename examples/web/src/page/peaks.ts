// Where a map is highest, as `Saliency.peaks` finds it (uva_edge/saliency.py).

import type { Grid } from "../protocol";

/** `x`, `y` in pixels of the frame, (0, 0) being the centre of the left-top one; `value` in (0, 1]. */
export interface Peak {
  x: number;
  y: number;
  value: number;
}

interface Cell {
  row: number;
  column: number;
  value: number;
}

const MIN_DISTANCE = 0.1; // of the map's width: weaker maxima nearer than this are left out
const MIN_VALUE = 0.1; // of the map's maximum

/** At most `count` local maxima, the strongest first; none in a map without contrast. */
export function findPeaks(map: Float32Array, grid: Grid, size: { width: number; height: number }, count = 3): Peak[] {
  const gap = MIN_DISTANCE * grid.columns;
  const stretch = grid.columns / grid.rows;
  const maxima = localMaxima(map, grid);
  const floor = MIN_VALUE * (maxima[0]?.value ?? 0);
  const found: Cell[] = [];
  for (const cell of maxima) {
    if (found.length === count || cell.value < floor) break;
    const near = ({ row, column }: Cell) => ((cell.row - row) * stretch) ** 2 + (cell.column - column) ** 2 < gap * gap;
    if (!found.some(near)) found.push(cell);
  }
  return found.map((cell) => refined(map, grid, size, cell));
}

/** The regional maxima, one cell each, by value, row, column: connected equal cells without a higher neighbour. */
function localMaxima(map: Float32Array, { rows, columns }: Grid): Cell[] {
  const seen = new Uint8Array(map.length);
  const maxima: Cell[] = [];
  for (let start = 0; start < map.length; start++) {
    if (seen[start]) continue;
    const value = map[start]!;
    const plateau = [start];
    let highest = true;
    seen[start] = 1;
    for (let next = 0; next < plateau.length; next++) {
      for (const neighbour of neighbours(plateau[next]!, rows, columns)) {
        if (map[neighbour]! > value) highest = false;
        else if (map[neighbour]! === value && !seen[neighbour]) plateau.push(neighbour), (seen[neighbour] = 1);
      }
    }
    if (highest && plateau.length < map.length) maxima.push({ ...middle(plateau, columns), value });
  }
  return maxima.sort((a, b) => b.value - a.value || a.row - b.row || a.column - b.column);
}

function* neighbours(at: number, rows: number, columns: number): Generator<number> {
  const row = Math.floor(at / columns);
  const column = at % columns;
  for (let r = Math.max(row - 1, 0); r <= Math.min(row + 1, rows - 1); r++) {
    for (let c = Math.max(column - 1, 0); c <= Math.min(column + 1, columns - 1); c++) {
      if (r !== row || c !== column) yield r * columns + c;
    }
  }
}

/** The cell of a plateau that is nearest to its centre. */
function middle(plateau: number[], columns: number): { row: number; column: number } {
  const cells = plateau.sort((a, b) => a - b).map((at) => ({ row: Math.floor(at / columns), column: at % columns }));
  const rows = cells.reduce((sum, { row }) => sum + row, 0);
  const across = cells.reduce((sum, { column }) => sum + column, 0);
  // Times the number of cells squared, so that the numbers are whole and ties exact.
  const away = ({ row, column }: { row: number; column: number }) =>
    (cells.length * row - rows) ** 2 + (cells.length * column - across) ** 2;
  return cells.reduce((best, cell) => (away(cell) < away(best) ? cell : best));
}

/** The place below one cell, by a parabola through the neighbours in each direction, in pixels. */
function refined(map: Float32Array, grid: Grid, size: { width: number; height: number }, cell: Cell): Peak {
  const { row, column, value } = cell;
  const at = (r: number, c: number) => map[r * grid.columns + c]!;
  const inner = (place: number, cells: number) => place > 0 && place < cells - 1;
  const dx = inner(column, grid.columns) ? top(at(row, column - 1), value, at(row, column + 1)) : 0;
  const dy = inner(row, grid.rows) ? top(at(row - 1, column), value, at(row + 1, column)) : 0;
  return {
    x: pixel(column + dx, grid.columns, size.width),
    y: pixel(row + dy, grid.rows, size.height),
    value,
  };
}

function top(left: number, middle: number, right: number): number {
  const curvature = left - 2 * middle + right;
  return curvature < 0 ? (0.5 * (left - right)) / curvature : 0;
}

function pixel(cell: number, cells: number, pixels: number): number {
  return Math.min(Math.max(((cell + 0.5) * pixels) / cells - 0.5, 0), pixels - 1);
}
