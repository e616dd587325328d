/* --- float32: the network -------------------------------------------------------------------------------- */

/* f_ca ([UVA] Eq. 2): factors [outputs] of values [pixels][outputs]. */
static void uva_attend(const uva_block *block, const float *values, int32_t pixels, float *factors)
{
    const int32_t channels = block->outputs;
    float pools[2][UVA_WIDEST];
    memset(pools[0], 0, sizeof pools[0]);
    memcpy(pools[1], values, (size_t)channels * sizeof(float));
    for (int32_t pixel = 0; pixel < pixels; pixel++) {
        const float *at = values + (ptrdiff_t)pixel * channels;
        for (int32_t c = 0; c < channels; c++) {
            pools[0][c] += at[c];
            pools[1][c] = at[c] > pools[1][c] ? at[c] : pools[1][c];
        }
    }
    for (int32_t c = 0; c < channels; c++) {
        pools[0][c] /= (float)pixels;
        factors[c] = 0.0f;
    }
    for (int32_t unit = 0; unit < block->units; unit++) {
        float hidden = 0.0f;
        for (int pool = 0; pool <= block->max_pool; pool++) {
            const float *weight = block->squeeze + (ptrdiff_t)unit * channels;
            float sum = 0.0f;
            for (int32_t c = 0; c < channels; c++) {
                sum += pools[pool][c] * weight[c];
            }
            hidden += sum > 0.0f ? sum : 0.0f;
        }
        for (int32_t c = 0; c < channels; c++) {
            factors[c] += hidden * block->excite[(ptrdiff_t)unit * channels + c];
        }
    }
    for (int32_t c = 0; c < channels; c++) {
        float power = uva_exp(factors[c] < 0.0f ? factors[c] : -factors[c]);
        factors[c] = (factors[c] < 0.0f ? power : 1.0f) / (1.0f + power);
    }
}

/* A CA-Res block ([UVA] Eq. 1): [size][size] pixels of `pitch` floats in, of `out_pitch` out. */
static void uva_run_block(const uva_block *block, uva_arena *arena, const float *from, ptrdiff_t pitch, float *to,
                          ptrdiff_t out_pitch)
{
    const int32_t size = block->size;
    const int32_t out = uva_strided(size, block->stride);
    const int32_t outputs = block->outputs;
    const ptrdiff_t row = (ptrdiff_t)(size + 2) * block->hidden;
    const uva_source inputs = {from, size * pitch, pitch, 0, 1, block->inputs};
    const uva_target padded = {arena->hidden + row + block->hidden, row, block->hidden};
    const uva_source narrowed = {arena->depthwise, (ptrdiff_t)out * block->hidden, block->hidden, 0, 1, block->hidden};
    const uva_target projected = {arena->projected, (ptrdiff_t)out * outputs, outputs};
    float factors[UVA_WIDEST];

    memset(arena->hidden, 0, (size_t)row * sizeof(float));
    memset(arena->hidden + (size + 1) * row, 0, (size_t)row * sizeof(float));
    for (int32_t y = 1; y <= size; y++) {
        memset(arena->hidden + y * row, 0, (size_t)block->hidden * sizeof(float));
        memset(arena->hidden + (y + 1) * row - block->hidden, 0, (size_t)block->hidden * sizeof(float));
    }
    uva_convolve(&block->expand, &inputs, &padded, size, size, 1);
    uva_depthwise(block->depthwise, block->depthwise_bias, arena->hidden, arena->depthwise, block->hidden, size,
                  block->stride);
    uva_convolve(&block->project, &narrowed, &projected, out, out, 0);
    for (int32_t c = 0; c < outputs; c++) {
        factors[c] = 1.0f;
    }
    if (block->squeeze != NULL) {
        uva_attend(block, arena->projected, out * out, factors);
    }
    for (int32_t pixel = 0; pixel < out * out; pixel++) {
        const float *value = arena->projected + (ptrdiff_t)pixel * outputs;
        const float *before = from + pixel * pitch;
        float *after = to + pixel * out_pitch;
        if (block->residual) {
            for (int32_t c = 0; c < outputs; c++) {
                after[c] = before[c] + value[c] * factors[c];
            }
        } else {
            for (int32_t c = 0; c < outputs; c++) {
                after[c] = value[c] * factors[c];
            }
        }
    }
}

/* f_s of a frame, [R/4][R/4][UVA_FEATURES]. */
static void uva_features(uva_arena *arena, const uint8_t *rgb, float *features)
{
    const ptrdiff_t row = (UVA_COLUMNS + 2) * 3;
    const uva_source source = {arena->image, row, 3, row, 3, 9};
    const uva_target target = {arena->a, (ptrdiff_t)UVA_COLUMNS * UVA_NARROW, UVA_NARROW};
    memset(arena->image, 0, sizeof arena->image);
    for (int32_t y = 0; y < UVA_ROWS; y++) {
        float *to = arena->image + (y + 1) * row + 3;
        for (int32_t i = 0; i < UVA_COLUMNS * 3; i++) {
            to[i] = ((float)rgb[(ptrdiff_t)y * UVA_COLUMNS * 3 + i] - 128.0f) * (1.0f / 128.0f);
        }
    }
    uva_convolve(&uva_first, &source, &target, UVA_ROWS, UVA_COLUMNS, 1);
    uva_run_block(&uva_low[0], arena, arena->a, UVA_NARROW, arena->b, UVA_NARROW);
    uva_run_block(&uva_low[1], arena, arena->b, UVA_NARROW, arena->a, 2 * UVA_NARROW);
    uva_run_block(&uva_low[2], arena, arena->a, 2 * UVA_NARROW, features, UVA_FEATURES);
}

/* The branches: f_s of a frame and of the one before, to arena->paths. */
static void uva_branches(uva_arena *arena, const float *current, const float *previous)
{
    float *paths = arena->paths;
#if UVA_SPATIAL
    uva_run_block(&uva_spatial[0], arena, current, UVA_FEATURES, arena->a, UVA_FEATURES);
    uva_run_block(&uva_spatial[1], arena, arena->a, UVA_FEATURES, paths, UVA_PATHS);
    paths += 2 * UVA_FEATURES;
#endif
#if UVA_TEMPORAL
    for (int32_t pixel = 0; pixel < UVA_QUARTER * UVA_QUARTER; pixel++) {
        float *to = arena->b + (ptrdiff_t)pixel * 2 * UVA_FEATURES;
        const float *now = current + (ptrdiff_t)pixel * UVA_FEATURES;
        const float *then = previous + (ptrdiff_t)pixel * UVA_FEATURES;
        for (int32_t c = 0; c < UVA_FEATURES; c++) {
            to[c] = now[c];
            to[UVA_FEATURES + c] = now[c] - then[c];
        }
    }
    uva_run_block(&uva_temporal[0], arena, arena->b, 2 * UVA_FEATURES, arena->a, UVA_FEATURES);
    uva_run_block(&uva_temporal[1], arena, arena->a, UVA_FEATURES, paths, UVA_PATHS);
#else
    (void)previous;
#endif
}

/* A transposed convolution, 4x4 of stride 2, as two products: one for the even rows, one for the odd ones. `from` has
   a margin of zeros of one pixel; a pixel of the products is two of the output. */
static void uva_deconvolve(const uva_product phases[2], const float *from, int32_t channels, int32_t size, float *to,
                           ptrdiff_t to_row, ptrdiff_t to_pixel)
{
    const ptrdiff_t row = (ptrdiff_t)(size + 2) * channels;
    for (int phase = 0; phase < 2; phase++) {
        const uva_source source = {from + phase * row, row, channels, row, 2, 3 * channels};
        const uva_target target = {to + phase * to_row, 2 * to_row, to_pixel};
        uva_convolve(&phases[phase], &source, &target, size, size, 0);
    }
}

/* The decoder: arena->paths to a map. */
static void uva_decode(uva_arena *arena, float *map)
{
    const int32_t size = UVA_QUARTER;
    const int32_t half = 2 * UVA_QUARTER;
    const ptrdiff_t row = (ptrdiff_t)(size + 2) * UVA_NARROW;
    const ptrdiff_t half_row = (ptrdiff_t)(half + 2) * UVA_UP;
    const uva_source source = {arena->paths, (ptrdiff_t)size * UVA_PATHS, UVA_PATHS, 0, 1, UVA_PATHS};
    const uva_target target = {arena->a, (ptrdiff_t)size * UVA_FUSED, UVA_FUSED};
    uva_convolve(&uva_mix, &source, &target, size, size, 1);
    uva_run_block(&uva_fuse[0], arena, arena->a, UVA_FUSED, arena->b, UVA_FUSED);
    uva_run_block(&uva_fuse[1], arena, arena->b, UVA_FUSED, arena->a, UVA_FUSED);
    uva_run_block(&uva_fuse[2], arena, arena->a, UVA_FUSED, arena->b, UVA_NARROW);

    memset(arena->a, 0, (size_t)((size + 2) * row) * sizeof(float));
    for (int32_t y = 0; y < size; y++) {
        memcpy(arena->a + (y + 1) * row + UVA_NARROW, arena->b + (ptrdiff_t)y * size * UVA_NARROW,
               (size_t)size * UVA_NARROW * sizeof(float));
    }
    memset(arena->b, 0, (size_t)((half + 2) * half_row) * sizeof(float));
    uva_deconvolve(uva_up11, arena->a, UVA_NARROW, size, arena->b + half_row + UVA_UP, half_row, 2 * UVA_UP);
    for (int32_t y = 1; y <= half; y++) {
        float *at = arena->b + y * half_row + UVA_UP;
        for (int32_t i = 0; i < half * UVA_UP; i++) {
            float x = at[i] < 0.0f ? 0.0f : at[i];
            at[i] = x > 6.0f ? 6.0f : x;
        }
    }
    for (int phase = 0; phase < 2; phase++) {
        /* Two channels of a panel are the two columns of a row. */
        const uva_source near = {arena->b + phase * half_row, half_row, UVA_UP, half_row, 2, 3 * UVA_UP};
        const uva_target pairs = {arena->hidden, (ptrdiff_t)half * UVA_PANEL, UVA_PANEL};
        uva_convolve(&uva_up12[phase], &near, &pairs, half, half, 0);
        for (int32_t y = 0; y < half; y++) {
            float *to = map + (ptrdiff_t)(2 * y + phase) * UVA_COLUMNS;
            for (int32_t x = 0; x < half; x++) {
                memcpy(to + 2 * x, arena->hidden + ((ptrdiff_t)y * half + x) * UVA_PANEL, 2 * sizeof(float));
            }
        }
    }
}

/* Logits to saliency in [0, 1]. */
static void uva_squash(float *map)
{
    const int32_t pixels = UVA_ROWS * UVA_COLUMNS;
#if UVA_OUTPUT == UVA_OUTPUT_PEAK
    float peak = map[0];
    for (int32_t i = 1; i < pixels; i++) {
        peak = map[i] > peak ? map[i] : peak;
    }
    for (int32_t i = 0; i < pixels; i++) {
        map[i] = uva_exp(map[i] - peak);
    }
#elif UVA_OUTPUT == UVA_OUTPUT_SIGMOID
    for (int32_t i = 0; i < pixels; i++) {
        float power = uva_exp(map[i] < 0.0f ? map[i] : -map[i]);
        map[i] = (map[i] < 0.0f ? power : 1.0f) / (1.0f + power);
    }
#else
    for (int32_t i = 0; i < pixels; i++) {
        float x = map[i] > 0.0f ? map[i] : 0.0f; /* of NaN too */
        map[i] = x > 1.0f ? 1.0f : x;
    }
#endif
}

static void uva_head(uva_arena *arena, const float *current, const float *previous, float *map)
{
    uva_branches(arena, current, previous);
    uva_decode(arena, map);
    uva_squash(map);
}
