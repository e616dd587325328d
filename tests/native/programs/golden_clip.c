/*
 * A clip through a model: its kernels, a hash of all maps, a hash of the state that is left, then the bits of some
 * values of each map, a line each. The header golden_clip.h is written by the test: it includes the model's own and
 * has `static const uint8_t golden_frames[GOLDEN_FRAMES][GOLDEN_PIXELS * 3]`, GOLDEN_FEATURES and GOLDEN_STEP.
 */
#include "console.h"
#include "golden_clip.h"

#include <string.h>

static uint8_t state[UVA_STATE_BYTES] __attribute__((aligned(16)));
static uint8_t arena[UVA_ARENA_BYTES] __attribute__((aligned(16), section(".large")));
static float map[GOLDEN_PIXELS];
static float features[GOLDEN_FEATURES];

static uint64_t fnv1a(uint64_t hash, const void *data, size_t count)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    }
    return hash;
}

static void line(uint64_t value)
{
    console_hex(value);
    console_text("\n");
}

static uint32_t bits(float value)
{
    uint32_t found;
    memcpy(&found, &value, sizeof found);
    return found;
}

int main(void)
{
    static uint32_t samples[GOLDEN_FRAMES][GOLDEN_PIXELS / GOLDEN_STEP];
    uint64_t hash = 0xcbf29ce484222325u;
    if (uva_init(state, arena, sizeof arena) != UVA_OK) {
        return 1;
    }
    for (int frame = 0; frame < GOLDEN_FRAMES; frame++) {
        if (uva_step(state, golden_frames[frame], map) != UVA_OK) {
            return 2;
        }
        hash = fnv1a(hash, map, sizeof map);
        for (int i = 0; i < GOLDEN_PIXELS / GOLDEN_STEP; i++) {
            samples[frame][i] = bits(map[i * GOLDEN_STEP]);
        }
    }
    if (uva_save(state, features) != UVA_OK) {
        return 3;
    }
    console_text(uva_model_info()->kernels);
    console_text("\n");
    line(hash);
    line(fnv1a(0xcbf29ce484222325u, features, sizeof features));
    for (int frame = 0; frame < GOLDEN_FRAMES; frame++) {
        for (int i = 0; i < GOLDEN_PIXELS / GOLDEN_STEP; i++) {
            line(samples[frame][i]);
        }
    }
    return 0;
}
