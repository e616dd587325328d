/* Does this build compute on this machine what it should? A moving picture that is drawn here, and some values of its
   maps. Link it with the model; the program gives 0 when all is well. In firmware, compile it with
   -DUVA_NO_MAIN and call uva_selftest. */

#define UVA_FRAMES (int)(sizeof uva_expected / sizeof uva_expected[0])
#define UVA_SAMPLES (int)(sizeof uva_expected[0] / sizeof uva_expected[0][0])

static uint8_t uva_state_memory[UVA_STATE_BYTES + 16];
static uint8_t uva_arena_memory[UVA_ARENA_BYTES + 16];
static uint8_t uva_rgb[UVA_SIDE * UVA_SIDE * 3];
static float uva_map[UVA_SIDE * UVA_SIDE];

/* Stripes that drift, and a bright square on its way to the right and down. */
static void uva_draw(int time)
{
    for (int y = 0; y < UVA_SIDE; y++) {
        for (int x = 0; x < UVA_SIDE; x++) {
            const int right = x - (UVA_SIDE / 4 + 2 * time);
            const int down = y - (UVA_SIDE / 3 + time);
            const int inside = right >= 0 && down >= 0 && right < UVA_SIDE / 6 && down < UVA_SIDE / 6;
            for (int channel = 0; channel < 3; channel++) {
                const int stripes = (x * 3 + y * (5 + channel) + 2 * time) % 97 + 40 * channel;
                uva_rgb[(y * UVA_SIDE + x) * 3 + channel] = (uint8_t)(inside ? 240 - 30 * channel : stripes);
            }
        }
    }
}

/* The first place in memory that is aligned as the model asks. */
static void *uva_aligned(uint8_t *memory)
{
    return memory + (16 - (uintptr_t)memory % 16) % 16;
}

/* 0, or how many values differ, or the error of a function. */
int uva_selftest(void);

int uva_selftest(void)
{
    void *state = uva_aligned(uva_state_memory);
    int wrong = 0;
    int status = uva_init(state, uva_aligned(uva_arena_memory), UVA_ARENA_BYTES);
    for (int frame = 0; status == UVA_OK && frame < UVA_FRAMES; frame++) {
        uva_draw(frame);
        status = uva_step(state, uva_rgb, uva_map);
        for (int i = 0; i < UVA_SAMPLES; i++) {
            const float found = uva_map[(int32_t)i * (UVA_SIDE * UVA_SIDE - 1) / (UVA_SAMPLES - 1)];
            const float difference = found - uva_expected[frame][i];
            if (!(difference <= UVA_TOLERANCE && difference >= -UVA_TOLERANCE)) {
                wrong++;
            }
        }
    }
    return status == UVA_OK ? wrong : status;
}

#ifndef UVA_NO_MAIN
#include <stdio.h>

int main(void)
{
    const int result = uva_selftest();
    if (result < 0) {
        printf("%s: %s\n", uva_model_info()->bundle, uva_strerror(result));
    } else if (result > 0) {
        printf("%s (%s): %d of %d values differ\n", uva_model_info()->bundle, uva_model_info()->precision, result,
               UVA_FRAMES * UVA_SAMPLES);
    } else {
        printf("%s (%s, %s kernels): passed\n", uva_model_info()->bundle, uva_model_info()->precision,
               uva_model_info()->kernels);
    }
    return result != 0;
}
#endif
