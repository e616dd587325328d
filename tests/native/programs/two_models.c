/* Two models in one program, and both headers in one file: of the second, the short names. */
#include "uva_first_int8.h"
#include "uva_second_fp32.h"

#include "console.h"

#include <string.h>

static uint8_t states[2][UVA_FIRST_INT8_STATE_BYTES + UVA_SECOND_FP32_STATE_BYTES] __attribute__((aligned(16)));
static uint8_t arenas[UVA_FIRST_INT8_ARENA_BYTES + UVA_SECOND_FP32_ARENA_BYTES] __attribute__((aligned(16)));
static uint8_t rgb[32 * 32 * 3];
static float maps[2][32 * 32];

static void say(const uva_info *info)
{
    console_text(info->bundle);
    console_text(" ");
    console_text(info->precision);
    console_text("\n");
}

int main(void)
{
    int wrong = uva_first_int8_init(states[0], arenas, UVA_FIRST_INT8_ARENA_BYTES);
    wrong |= uva_init(states[1], arenas, UVA_ARENA_BYTES);
    for (int i = 0; i < (int)sizeof rgb; i++) {
        rgb[i] = (uint8_t)(i * 7 % 251);
    }
    wrong |= uva_first_int8_step(states[0], rgb, maps[0]);
    wrong |= uva_step(states[1], rgb, maps[1]);
    wrong |= UVA_STATE_BYTES != UVA_SECOND_FP32_STATE_BYTES;
    wrong |= uva_step != uva_second_fp32_step;
    wrong |= memcmp(maps[0], maps[1], sizeof maps[0]) == 0;
    say(uva_first_int8_model_info());
    say(uva_model_info());
    return wrong;
}
