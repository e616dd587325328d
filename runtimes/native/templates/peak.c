#define UVA_PEAK_CELLS (UVA_ROWS * UVA_COLUMNS)
#define UVA_PEAK_MAX_SIDE 32768

/* Some cells of the map, one bit each. Two of these are on the stack. */
typedef struct {
    uint8_t bits[(UVA_PEAK_CELLS + 7) / 8];
} uva_peak_cells;

/* Touching cells of one value: which, how many, the sums that give their centre, the rows that they span. */
typedef struct {
    uva_peak_cells cells;
    int32_t count, rows, columns, first_row, last_row;
} uva_peak_plateau;

static int uva_peak_has(const uva_peak_cells *cells, int32_t cell)
{
    return (cells->bits[cell / 8] >> (cell % 8)) & 1;
}

static void uva_peak_put(uva_peak_cells *cells, int32_t cell)
{
    cells->bits[cell / 8] = (uint8_t)(cells->bits[cell / 8] | 1u << (cell % 8));
}

/* Clips in this order, since no comparison holds for a NaN. */
static float uva_peak_value(const float *map, int32_t cell)
{
    float value = map[cell];
    return value > 0.0f ? (value < 1.0f ? value : 1.0f) : 0.0f;
}

/* Whether the cell or one of its eight neighbours is among these cells. */
static int uva_peak_touches(const uva_peak_cells *cells, int32_t row, int32_t column)
{
    int32_t left = column > 0 ? column - 1 : 0, top = row > 0 ? row - 1 : 0;
    for (int32_t r = top; r <= row + 1 && r < UVA_ROWS; r++) {
        for (int32_t c = left; c <= column + 1 && c < UVA_COLUMNS; c++) {
            if (uva_peak_has(cells, r * UVA_COLUMNS + c)) {
                return 1;
            }
        }
    }
    return 0;
}

static void uva_peak_add(uva_peak_plateau *plateau, int32_t row, int32_t column)
{
    uva_peak_put(&plateau->cells, row * UVA_COLUMNS + column);
    plateau->count++;
    plateau->rows += row;
    plateau->columns += column;
    plateau->last_row = row > plateau->last_row ? row : plateau->last_row;
}

/* Adds the cells of value `top` in a row that touch the plateau, looking at them in one direction. */
static void uva_peak_grow_row(const float *map, float top, int32_t row, int forward,
                              uva_peak_plateau *plateau)
{
    for (int32_t step = 0; step < UVA_COLUMNS; step++) {
        int32_t column = forward ? step : UVA_COLUMNS - 1 - step, cell = row * UVA_COLUMNS + column;
        if (uva_peak_value(map, cell) >= top && !uva_peak_has(&plateau->cells, cell) &&
            uva_peak_touches(&plateau->cells, row, column)) {
            uva_peak_add(plateau, row, column);
        }
    }
}

/*
 * All cells of value `top` that hang together with this one, which is the first of them. Sweeps down and up
 * until that adds nothing: this needs no queue of cells, and is done soon unless the plateau winds.
 */
static void uva_peak_grow(const float *map, float top, int32_t cell, uva_peak_plateau *plateau)
{
    int32_t before, row;
    memset(plateau, 0, sizeof *plateau);
    plateau->first_row = cell / UVA_COLUMNS;
    uva_peak_add(plateau, plateau->first_row, cell % UVA_COLUMNS);
    do {
        before = plateau->count;
        for (row = plateau->first_row; row <= plateau->last_row + 1 && row < UVA_ROWS; row++) {
            uva_peak_grow_row(map, top, row, 1, plateau);
        }
        for (row = plateau->last_row; row >= plateau->first_row; row--) {
            uva_peak_grow_row(map, top, row, 0, plateau);
        }
    } while (plateau->count > before);
}

/* The plateau's cell nearest to its centre. Marks all its cells as done. */
static int32_t uva_peak_middle(const uva_peak_plateau *plateau, uva_peak_cells *done)
{
    int64_t nearest = INT64_MAX;
    int32_t middle = 0, end = (plateau->last_row + 1) * UVA_COLUMNS;
    for (int32_t cell = plateau->first_row * UVA_COLUMNS; cell < end; cell++) {
        if (uva_peak_has(&plateau->cells, cell)) {
            /* Times the count, so that it is whole. At most 2^16 cells and 2^8 rows: squares below 2^48. */
            int64_t down = (int64_t)plateau->count * (cell / UVA_COLUMNS) - plateau->rows;
            int64_t right = (int64_t)plateau->count * (cell % UVA_COLUMNS) - plateau->columns;
            int64_t distance = down * down + right * right;
            if (distance < nearest) {
                nearest = distance;
                middle = cell;
            }
            uva_peak_put(done, cell);
        }
    }
    return middle;
}

/* The first of the middles of all plateaus of value `top`. */
static int32_t uva_peak_first(const float *map, float top)
{
    uva_peak_plateau plateau;
    uva_peak_cells done;
    int32_t first = UVA_PEAK_CELLS;
    memset(&done, 0, sizeof done);
    for (int32_t cell = 0; cell < UVA_PEAK_CELLS; cell++) {
        if (uva_peak_value(map, cell) >= top && !uva_peak_has(&done, cell)) {
            uva_peak_grow(map, top, cell, &plateau);
            int32_t middle = uva_peak_middle(&plateau, &done);
            first = middle < first ? middle : first;
        }
    }
    return first;
}

/*
 * Where the parabola through a maximum and its neighbours, `step` cells before and after it, has its top:
 * -0.5 to 0.5 from the cell, 0 at the map's border. Written as differences, which lose nothing in float.
 */
static float uva_peak_offset(const float *map, int32_t cell, int32_t step, int32_t place, int32_t places)
{
    if (place == 0 || place == places - 1) {
        return 0.0f;
    }
    float top = uva_peak_value(map, cell);
    float before = uva_peak_value(map, cell - step), after = uva_peak_value(map, cell + step);
    float curvature = (before - top) + (after - top);
    return curvature < 0.0f ? 0.5f * (before - after) / curvature : 0.0f;
}

/* The pixel of a place in cells, clipped because a cell is smaller than a pixel in a tiny frame. */
static float uva_peak_pixel(float place, int32_t places, int32_t pixels)
{
    float last = (float)(pixels - 1);
    float pixel = (place + 0.5f) * (float)pixels / (float)places - 0.5f;
    return pixel > 0.0f ? (pixel < last ? pixel : last) : 0.0f;
}

int uva_peak(const float *map, int32_t width, int32_t height, float *x, float *y, float *value)
{
    if (map == NULL || x == NULL || y == NULL || value == NULL) {
        return UVA_ERROR_NULL;
    }
    if (width < 1 || width > UVA_PEAK_MAX_SIDE || height < 1 || height > UVA_PEAK_MAX_SIDE) {
        return UVA_ERROR_SIZE;
    }
    float low = 1.0f, top = 0.0f;
    for (int32_t cell = 0; cell < UVA_PEAK_CELLS; cell++) {
        float here = uva_peak_value(map, cell);
        low = here < low ? here : low;
        top = here > top ? here : top;
    }
    if (low >= top) {
        *x = (float)(width - 1) / 2.0f;
        *y = (float)(height - 1) / 2.0f;
        *value = 0.0f;
        return UVA_OK;
    }
    int32_t cell = uva_peak_first(map, top), row = cell / UVA_COLUMNS, column = cell % UVA_COLUMNS;
    float right = uva_peak_offset(map, cell, 1, column, UVA_COLUMNS);
    float down = uva_peak_offset(map, cell, UVA_COLUMNS, row, UVA_ROWS);
    *x = uva_peak_pixel((float)column + right, UVA_COLUMNS, width);
    *y = uva_peak_pixel((float)row + down, UVA_ROWS, height);
    *value = top;
    return UVA_OK;
}
