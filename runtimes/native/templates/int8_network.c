/* --- int8: what comes between the convolutions -------------------------------------------------------------- */

/* Mean and maximum of each channel over the tiles of a panel, as the reference rounds them. */
static void uva_pool(const int16_t *wide, int32_t tiles, ptrdiff_t stride, int32_t factor, int16_t *mean,
                     int16_t *most)
{
    int32_t sum[UVA_PANEL];
    int16_t top[32];
#if UVA_VECTORS
    uva_ints total[UVA_PARTS];
    uva_ints highest[UVA_PARTS];
    for (int part = 0; part < UVA_PARTS; part++) {
        total[part] = uva_same32(0);
        highest[part] = uva_same16(-32768);
    }
    for (int32_t tile = 0; tile < tiles; tile++) {
        const uva_ints *at = (const uva_ints *)(const void *)(wide + tile * stride);
        for (int part = 0; part < UVA_PARTS; part++) {
            const uva_ints a = uva_load(at + part);
            const uva_ints b = uva_load(at + UVA_PARTS + part);
            const uva_ints ones = uva_same16(1);
            total[part] = uva_add32(total[part], uva_pairs(uva_interleave_low(a, b), ones));
            total[part] = uva_add32(total[part], uva_pairs(uva_interleave_high(a, b), ones));
            highest[part] = uva_max16(highest[part], uva_max16(a, b));
        }
    }
    for (int part = 0; part < UVA_PARTS; part++) {
        uva_store((uva_ints *)(void *)sum + part, total[part]);
        uva_store((uva_ints *)(void *)top + part, highest[part]);
    }
#else
    memset(sum, 0, sizeof sum);
    memcpy(top, wide, sizeof top);
    for (int32_t tile = 0; tile < tiles; tile++) {
        const int16_t *at = wide + tile * stride;
        for (int i = 0; i < 64; i++) {
            sum[(i % 32) / 8 * 4 + i % 4] += at[i];
            top[i % 32] = at[i] > top[i % 32] ? at[i] : top[i % 32];
        }
    }
#endif
    for (int channel = 0; channel < UVA_PANEL; channel++) {
        const int16_t *pair = top + channel / 4 * 8 + channel % 4;
        mean[channel] = (int16_t)(((int64_t)sum[channel] * factor + (1 << 30)) >> 31);
        most[channel] = pair[0] > pair[4] ? pair[0] : pair[4];
    }
}

/* f_ca ([UVA] Eq. 2) times the gains: factors [panels][32] as of `wide`. */
static void uva_attend(const uva_block *block, const int16_t *wide, int32_t tiles, int16_t *factors)
{
    const int32_t channels = block->outputs;
    int16_t pools[2][UVA_WIDEST];
    int32_t score[UVA_WIDEST];
    for (int32_t panel = 0; panel < channels / UVA_PANEL; panel++) {
        uva_pool(wide + (ptrdiff_t)panel * 64, tiles, (ptrdiff_t)channels * 4, block->mean,
                 pools[0] + panel * UVA_PANEL, pools[1] + panel * UVA_PANEL);
    }
    memset(score, 0, sizeof score);
    for (int32_t unit = 0; unit < block->units; unit++) {
        const int16_t *squeeze = block->squeeze + (ptrdiff_t)unit * channels;
        const int16_t *excite = block->excite + (ptrdiff_t)unit * channels;
        int32_t hidden = 0;
        for (int pool = 0; pool <= block->max_pool; pool++) {
            int32_t sum = 0;
            for (int32_t c = 0; c < channels; c++) {
                sum += pools[pool][c] * squeeze[c];
            }
            hidden += sum > 0 ? sum >> block->squeeze_shift : 0;
        }
        hidden = hidden > 32767 ? 32767 : hidden;
        for (int32_t c = 0; c < channels; c++) {
            score[c] += hidden * excite[c];
        }
    }
    for (int32_t c = 0; c < channels; c++) {
        const int32_t at = c / UVA_PANEL * 32 + c % UVA_PANEL / 4 * 8 + c % 4;
        int64_t index = (((int64_t)score[c] * block->score + (1 << 22)) >> 23) + 512;
        int32_t factor;
        index = index < 0 ? 0 : index;
        index = index > 1023 ? 1023 : index;
        factor = uva_scaled(uva_sigmoid[index], block->gain[at]);
        factors[at] = (int16_t)factor;
        factors[at + 4] = (int16_t)factor;
    }
}

/* ``wide * factors + before * residual``, as int16 to `wide` itself and as uint8 to `values`; `tile` is the stride of
   the latter. `before` may be `wide`'s place to be, or NULL. */
static void uva_combine(const uva_block *block, int16_t *wide, const int16_t *before, const int16_t *factors,
                        int16_t *after, uint8_t *values, ptrdiff_t stride, int32_t tiles)
{
    const int32_t panels = block->outputs / UVA_PANEL;
    for (int32_t panel = 0; panel < panels; panel++) {
        const int16_t *factor = factors + panel * 32;
        for (int32_t tile = 0; tile < tiles; tile++) {
            const ptrdiff_t at = ((ptrdiff_t)tile * panels + panel) * 64;
            uint8_t *to = values + tile * stride + panel * 64;
#if UVA_VECTORS
            const uva_ints round = uva_same32(1 << 12);
            const uva_ints narrow = uva_same16((int16_t)block->narrow);
            const uva_ints zero = uva_same16((int16_t)block->zero);
            const uva_ints residual = uva_same16((int16_t)block->residual);
            for (int part = 0; part < UVA_PARTS; part++) {
                const uva_ints f = uva_load((const uva_ints *)(const void *)factor + part);
                const uva_ints f_low = uva_interleave_low(f, residual);
                const uva_ints f_high = uva_interleave_high(f, residual);
                uva_ints sums[2];
                for (int pair = 0; pair < 2; pair++) {
                    const ptrdiff_t i = pair * UVA_PARTS + part;
                    const uva_ints v = uva_load((const uva_ints *)(const void *)(wide + at) + i);
                    const uva_ints b =
                        before == NULL ? uva_same16(0) : uva_load((const uva_ints *)(const void *)(before + at) + i);
                    const uva_ints low = uva_add32(uva_pairs(uva_interleave_low(v, b), f_low), round);
                    const uva_ints high = uva_add32(uva_pairs(uva_interleave_high(v, b), f_high), round);
                    sums[pair] = uva_pack32(uva_shift_right(low, 13), uva_shift_right(high, 13));
                    if (after != NULL) {
                        uva_store((uva_ints *)(void *)(after + at) + i, sums[pair]);
                    }
                    sums[pair] = uva_add16(uva_scale(sums[pair], narrow), zero);
                }
                uva_store((uva_ints *)(void *)to + part, uva_pack16(sums[0], sums[1]));
            }
#else
            for (int i = 0; i < 64; i++) {
                const int32_t b = before == NULL ? 0 : before[at + i] * block->residual;
                const int32_t sum = uva_saturate16((wide[at + i] * factor[i % 32] + b + (1 << 12)) >> 13);
                const int pixel = i / 32 * 2 + i % 8 / 4;
                if (after != NULL) {
                    after[at + i] = (int16_t)sum;
                }
                to[i % 32 / 8 * 16 + pixel * 4 + i % 4] =
                    (uint8_t)uva_saturate8(uva_scaled(sum, block->narrow) + block->zero);
            }
#endif
        }
    }
}

#if UVA_TEMPORAL
/* The temporal path's second half: the difference of two frames' features. */
static void uva_subtract(const int16_t *now, const int16_t *then, uint8_t *values, ptrdiff_t stride, int32_t tiles)
{
    const int32_t panels = UVA_FEATURES / UVA_PANEL;
    for (int32_t tile = 0; tile < tiles; tile++) {
        for (int32_t panel = 0; panel < panels; panel++) {
            const ptrdiff_t at = ((ptrdiff_t)tile * panels + panel) * 64;
            uint8_t *to = values + tile * stride + panel * 64;
#if UVA_VECTORS
            const uva_ints narrow = uva_same16(UVA_DIFFERENCE_NARROW);
            const uva_ints zero = uva_same16(UVA_DIFFERENCE_ZERO);
            for (int part = 0; part < UVA_PARTS; part++) {
                uva_ints half[2];
                for (int pair = 0; pair < 2; pair++) {
                    const ptrdiff_t i = pair * UVA_PARTS + part;
                    const uva_ints a = uva_load((const uva_ints *)(const void *)(now + at) + i);
                    const uva_ints b = uva_load((const uva_ints *)(const void *)(then + at) + i);
                    half[pair] = uva_add16(uva_scale(uva_subtract16(a, b), narrow), zero);
                }
                uva_store((uva_ints *)(void *)to + part, uva_pack16(half[0], half[1]));
            }
#else
            for (int i = 0; i < 64; i++) {
                const int32_t difference = uva_saturate16(now[at + i] - then[at + i]);
                const int pixel = i / 32 * 2 + i % 8 / 4;
                to[i % 32 / 8 * 16 + pixel * 4 + i % 4] =
                    (uint8_t)uva_saturate8(uva_scaled(difference, UVA_DIFFERENCE_NARROW) + UVA_DIFFERENCE_ZERO);
            }
#endif
        }
    }
}
#endif

/* --- int8: the network -------------------------------------------------------------------------------------- */

static uva_source uva_values(const uint8_t *data, int32_t channels, ptrdiff_t tile, int32_t tiles)
{
    const uva_source source = {data, tile * tiles, tile, 4, 16, 0, 1, channels / 4};
    return source;
}

/* The margins of `hidden` for a picture of such a size. */
static void uva_clear_margins(uint8_t *hidden, int32_t channels, int32_t size)
{
    const size_t block = (size_t)channels * UVA_TILE;
    const size_t row = ((size_t)size / UVA_TILE + 2) * block;
    memset(hidden, 0, row + block);
    for (int32_t y = 1; y < size; y++) {
        memset(hidden + (size_t)(y + 1) * row - block, 0, 2 * block);
    }
    memset(hidden + (size_t)(size + 1) * row - block, 0, row + block);
}

/* A CA-Res block ([UVA] Eq. 1). `pitch` and `out_pitch` are the strides of the tiles of its input and output. */
static void uva_run_block(const uva_block *block, uva_arena *arena, const uint8_t *from, ptrdiff_t pitch,
                          const int16_t *before, int16_t *after, uint8_t *to, ptrdiff_t out_pitch)
{
    const int32_t tiles = block->size / UVA_TILE;
    const int32_t out = uva_strided(block->size, block->stride);
    const int32_t out_tiles = out / UVA_TILE;
    const ptrdiff_t row = ((ptrdiff_t)tiles + 2) * block->hidden * UVA_TILE;
    const ptrdiff_t narrow_tile = (ptrdiff_t)block->hidden * UVA_TILE;
    const uva_source inputs = uva_values(from, block->inputs, pitch, tiles);
    const uva_source narrowed = uva_values(arena->depthwise, block->hidden, narrow_tile, out_tiles);
    const uva_target hidden = {arena->hidden + row + narrow_tile, row, narrow_tile, 64, UVA_HIDDEN};
    const ptrdiff_t wide_tile = (ptrdiff_t)block->outputs * UVA_TILE * 2;
    const uva_target wide = {arena->wide, wide_tile * out_tiles, wide_tile, 128, UVA_WIDE};
    int16_t factors[2 * UVA_WIDEST];

    uva_clear_margins(arena->hidden, block->hidden, block->size);
    uva_multiply(&block->expand, &inputs, &hidden, block->size, tiles);
    uva_depthwise(&block->depthwise, arena->hidden, arena->depthwise, block->hidden, block->size, block->stride);
    uva_multiply(&block->project, &narrowed, &wide, out, out_tiles);
    if (block->squeeze != NULL) {
        uva_attend(block, arena->wide, out * out_tiles, factors);
    } else {
        memcpy(factors, block->gain, (size_t)block->outputs * 2 * sizeof(int16_t));
    }
    uva_combine(block, arena->wide, before, factors, after, to, out_pitch, out * out_tiles);
}

/* f_s of a frame, as `wide`; its uint8 to arena->middle.both. */
static void uva_features(uva_arena *arena, const uint8_t *rgb, int16_t *features)
{
    const ptrdiff_t row = (UVA_COLUMNS + 2) * 3;
    uint8_t *image = arena->shared.early.image;
    uint8_t *first = arena->shared.early.first;
    const uva_source source = {image, row, 12, 3, 4, row, 3, 3};
    const ptrdiff_t tile = UVA_NARROW * UVA_TILE;
    const uva_target target = {first, tile * (UVA_COLUMNS / UVA_TILE), tile, 64, UVA_VALUES};
    memset(image, 128, sizeof arena->shared.early.image);
    for (int32_t y = 0; y < UVA_ROWS; y++) {
        memcpy(image + (y + 1) * row + 3, rgb + (ptrdiff_t)y * UVA_COLUMNS * 3, UVA_COLUMNS * 3);
    }
    uva_multiply(&uva_first, &source, &target, UVA_ROWS, UVA_COLUMNS / UVA_TILE);
    uva_run_block(&uva_low[0], arena, first, tile, NULL, NULL, arena->values, tile);
    uva_run_block(&uva_low[1], arena, arena->values, tile, NULL, NULL, first, 2 * tile);
    uva_run_block(&uva_low[2], arena, first, 2 * tile, NULL, features, arena->middle.both, 8 * tile);
}

/* The branches: f_s of a frame, whose uint8 are in arena->middle.both, and of the one before, to arena->shared.paths. */
static void uva_branches(uva_arena *arena, const int16_t *current, const int16_t *previous)
{
    const ptrdiff_t features = UVA_FEATURES * UVA_TILE;
    uint8_t *paths = arena->shared.paths;
#if UVA_SPATIAL
    uva_run_block(&uva_spatial[0], arena, arena->middle.both, 2 * features, current, NULL, arena->values, features);
    uva_run_block(&uva_spatial[1], arena, arena->values, features, NULL, NULL, paths, UVA_PATHS * UVA_TILE);
    paths += 2 * features;
#else
    (void)current;
#endif
#if UVA_TEMPORAL
    uva_subtract(current, previous, arena->middle.both + features, 2 * features, UVA_QUARTER * UVA_QUARTER / UVA_TILE);
    uva_run_block(&uva_temporal[0], arena, arena->middle.both, 2 * features, NULL, NULL, arena->values, features);
    uva_run_block(&uva_temporal[1], arena, arena->values, features, NULL, NULL, paths, UVA_PATHS * UVA_TILE);
#else
    (void)previous;
#endif
}

/* `values` of a square picture to pixels, each with its channels one after the other. */
static void uva_lay_out(const uint8_t *values, int32_t size, int32_t channels, ptrdiff_t to_row, ptrdiff_t to_pixel,
                        uint8_t *to)
{
    const ptrdiff_t tile = (ptrdiff_t)channels * UVA_TILE;
    for (int32_t y = 0; y < size; y++) {
        for (int32_t x = 0; x < size; x++) {
            const uint8_t *from = values + ((ptrdiff_t)y * (size / UVA_TILE) + x / UVA_TILE) * tile + x % UVA_TILE * 4;
            for (int32_t quad = 0; quad < channels / 4; quad++) {
                memcpy(to + y * to_row + x * to_pixel + quad * 4, from + quad * 16, 4);
            }
        }
    }
}

/* `values` to `wide`, 128 times as large: a pair of pixels of a quad are eight neighbours in both. */
static void uva_widen(const uint8_t *values, int16_t *wide, int32_t count)
{
    for (int32_t at = 0; at < count; at += 64) {
        for (int run = 0; run < 8; run++) {
            const uint8_t *from = values + at + run % 4 * 16 + run / 4 * 8;
            for (int i = 0; i < 8; i++) {
                wide[at + run * 8 + i] = (int16_t)(from[i] << 7);
            }
        }
    }
}

/* The decoder: arena->shared.paths to logits, int32 [R][R]. */
static const int32_t *uva_decode(uva_arena *arena)
{
    const int32_t size = UVA_QUARTER;
    const int32_t half = 2 * UVA_QUARTER;
    const int32_t tiles = size / UVA_TILE;
    const ptrdiff_t fused = UVA_FUSED * UVA_TILE;
    const ptrdiff_t row = (ptrdiff_t)(size + 2) * UVA_NARROW;
    const ptrdiff_t half_row = (ptrdiff_t)(half + 2) * UVA_UP;
    const uva_source paths = uva_values(arena->shared.paths, UVA_PATHS, UVA_PATHS * UVA_TILE, tiles);
    const uva_target mixed = {arena->values, fused * tiles, fused, 64, UVA_VALUES};
    uint8_t *padded = arena->middle.both;
    uint8_t *doubled = arena->values;
    int32_t *sums = (int32_t *)(void *)arena->hidden;
    int32_t *logits = sums + (ptrdiff_t)half * half * UVA_PANEL;

    uva_multiply(&uva_mix, &paths, &mixed, size, tiles);
    uva_widen(arena->values, arena->middle.kept, UVA_QUARTER * UVA_QUARTER * UVA_FUSED);
    for (int block = 0; block < 2; block++) {
        uva_run_block(&uva_fuse[block], arena, arena->values, fused, arena->middle.kept, arena->middle.kept, arena->values, fused);
    }
    uva_run_block(&uva_fuse[2], arena, arena->values, fused, NULL, NULL, arena->values, UVA_NARROW * UVA_TILE);

    memset(padded, uva_fuse[2].zero, (size_t)((size + 2) * row));
    uva_lay_out(arena->values, size, UVA_NARROW, row, UVA_NARROW, padded + row + UVA_NARROW);
    memset(doubled, 0, (size_t)((half + 2) * half_row));
    for (int phase = 0; phase < 2; phase++) {
        const uva_source source = {padded + phase * row, row, UVA_NARROW * UVA_TILE, UVA_NARROW, 4, row, 2,
                                   3 * UVA_NARROW / 4};
        const uva_target target = {arena->depthwise, (ptrdiff_t)2 * UVA_UP * size, 2 * UVA_UP * UVA_TILE, 64,
                                   UVA_VALUES};
        uva_multiply(&uva_up11[phase], &source, &target, size, tiles);
        uva_lay_out(arena->depthwise, size, 2 * UVA_UP, 2 * half_row, 2 * UVA_UP,
                    doubled + (phase + 1) * half_row + UVA_UP);
    }
    for (int phase = 0; phase < 2; phase++) {
        const uva_source source = {doubled + phase * half_row, half_row, UVA_UP * UVA_TILE, UVA_UP, 4, half_row, 2,
                                   3 * UVA_UP / 4};
        const uva_target target = {sums, (ptrdiff_t)half * 64, 256, 0, UVA_SUMS};
        uva_multiply(&uva_up12[phase], &source, &target, half, half / UVA_TILE);
        for (int32_t y = 0; y < half; y++) {
            int32_t *to = logits + (ptrdiff_t)(2 * y + phase) * UVA_COLUMNS;
            for (int32_t x = 0; x < half; x++) {
                memcpy(to + 2 * x, sums + ((ptrdiff_t)y * half + x) * UVA_PANEL, 8);
            }
        }
    }
    return logits;
}

/* exp of what a logit lies below the highest, in steps of 2^-16. */
static void uva_squash(const int32_t *logits, float *map)
{
    const int32_t pixels = UVA_ROWS * UVA_COLUMNS;
    int32_t peak = logits[0];
    for (int32_t i = 1; i < pixels; i++) {
        peak = logits[i] > peak ? logits[i] : peak;
    }
    for (int32_t i = 0; i < pixels; i++) {
        int32_t below = peak - logits[i];
        below = below > UVA_PEAK_CAP ? UVA_PEAK_CAP : below;
        below = (below * UVA_PEAK_MULTIPLIER) >> UVA_PEAK_SHIFT;
        map[i] = (float)(uva_exp2[below & 255] >> (below >> 8)) * (1.0f / 65536.0f);
    }
}

static void uva_head(uva_arena *arena, const int16_t *current, const int16_t *previous, float *map)
{
    uva_branches(arena, current, previous);
    uva_squash(uva_decode(arena), map);
}
