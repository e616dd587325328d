/*
 * The strongest point of a map, UVA_ROWS x UVA_COLUMNS floats in [0, 1], for a frame of `width` x `height`
 * pixels, 1..32768 each. `x` and `y` are pixels of the frame, in [0, width - 1] and [0, height - 1]; (0, 0)
 * is the centre of its left-top pixel. `value` is the map there.
 *
 * Equal cells that touch are one maximum, at the cell nearest to their centre; of equal maxima the first by
 * row, then column, is taken. The place is refined below one cell by a parabola through the neighbours in
 * each direction. A map without contrast has no peak: `value` is 0, and the place is the centre of the frame.
 * Values outside [0, 1] are clipped; NaN counts as 0.
 *
 * Takes about UVA_ROWS UVA_COLUMNS / 4 bytes of stack, 1.1 KB for a 64x64 map.
 * Returns UVA_OK, UVA_ERROR_NULL or UVA_ERROR_SIZE, with which nothing is written.
 */
int uva_peak(const float *map, int32_t width, int32_t height, float *x, float *y, float *value);
