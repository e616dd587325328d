/*
 * A model with heap memory of exactly the bytes that are promised and no more alignment, so that the sanitizers see
 * any other. The header uva.h is written by the test: it includes the model's own.
 */
#include "console.h"
#include "frame_case.h"
#include "uva.h"

#include <math.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNED = 64, STEPS = 3, PIXELS = UVA_ROWS * UVA_COLUMNS };

/* Memory `offset` bytes behind a good alignment; what lies in front is forbidden as what lies behind. */
static void *allocate(size_t bytes, size_t offset)
{
    void *memory = NULL;
    if (posix_memalign(&memory, ALIGNED, bytes + offset) != 0) {
        abort();
    }
    ASAN_POISON_MEMORY_REGION(memory, offset);
    return (uint8_t *)memory + offset;
}

static void release(void *memory, size_t offset)
{
    ASAN_UNPOISON_MEMORY_REGION((uint8_t *)memory - offset, offset);
    free((uint8_t *)memory - offset);
}

static int take(int format, int32_t seed, uint8_t *rgb)
{
    const frame_case frame = {format, 46 + 2 * seed, 31 + seed, {0, 0, 0}, 0, seed % 2, (uint32_t)seed + 1u};
    frame_memory parts[3] = {{1, 0, 0}, {1, 0, 0}, {1, 0, 0}};
    uint8_t *memory[3];
    uint32_t random = frame.seed;
    int count = frame_case_memory(&frame, parts);
    for (int part = 0; part < 3; part++) {
        memory[part] = allocate(part < count ? parts[part].bytes : 1, 0);
        frame_case_fill(memory[part], part < count ? parts[part].bytes : 1, &random);
    }
    const uint8_t *const begin[3] = {memory[0], memory[1], memory[2]};
    int status = frame_case_call(&frame, begin, rgb);
    for (int part = 0; part < 3; part++) {
        release(memory[part], 0);
    }
    return status;
}

/* The number of things that went wrong. */
static int run(int format, size_t map_offset, size_t rgb_offset)
{
    const uva_info *info = uva_model_info();
    const size_t features_bytes = (size_t)info->features * (size_t)info->state_rows * (size_t)info->state_columns * 4;
    void *state = allocate(uva_state_size(), 16);
    void *other = allocate(uva_state_size(), 16);
    void *arena = allocate(uva_arena_size(), 16);
    void *second = allocate(uva_arena_size(), 16);
    float *features = allocate(features_bytes, map_offset);
    float *map = allocate(PIXELS * sizeof(float), map_offset);
    float *again = allocate(PIXELS * sizeof(float), map_offset);
    uint8_t *rgb = allocate(PIXELS * 3, rgb_offset);
    int wrong = uva_init(state, arena, uva_arena_size()) != UVA_OK;
    wrong += uva_save(state, features) != UVA_ERROR_STATE;
    for (int32_t step = 0; step < STEPS; step++) {
        float x, y, value;
        wrong += take(format, step, rgb) != UVA_OK;
        wrong += uva_step(state, rgb, map) != UVA_OK;
        wrong += uva_peak(map, 1920, 1080, &x, &y, &value) != UVA_OK;
        wrong += !(value == 1.0f && x >= 0.0f && x <= 1919.0f && y >= 0.0f && y <= 1079.0f);
    }
    wrong += uva_save(state, features) != UVA_OK;
    wrong += uva_init(other, second, uva_arena_size()) != UVA_OK;
    wrong += uva_restore(other, features) != UVA_OK;
    wrong += uva_move(state, second, uva_arena_size()) != UVA_OK;
    wrong += uva_step(state, rgb, map) != UVA_OK;
    wrong += uva_step(other, rgb, again) != UVA_OK;
    for (int pixel = 0; pixel < PIXELS; pixel++) {
        wrong += fabsf(map[pixel] - again[pixel]) > 1e-6f;
    }
    for (size_t i = 0; i < features_bytes / sizeof(float); i++) {
        features[i] = i % 2 == 0 ? NAN : INFINITY;
    }
    wrong += uva_restore(other, features) != UVA_OK;
    wrong += uva_step(other, rgb, again) != UVA_OK;
    wrong += uva_reset(other) != UVA_OK;
    release(state, 16);
    release(other, 16);
    release(arena, 16);
    release(second, 16);
    release(features, map_offset);
    release(map, map_offset);
    release(again, map_offset);
    release(rgb, rgb_offset);
    return wrong;
}

int main(void)
{
    int wrong = 0;
    for (int format = 0; format < FRAME_FORMATS; format++) {
        wrong += format % 2 == 0 ? run(format, 8, 8) : run(format, sizeof(float), 1);
    }
    console_number(wrong);
    return wrong != 0;
}
