/* For libFuzzer: any numbers as a case, good ones and bad ones. */
#include "heap_call.h"

#include <stdlib.h>
#include <string.h>

enum { BYTES = 14 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small numbers around zero; or, rarely enough to be fast, around the longest side that is allowed. */
static int32_t side(uint8_t low, uint8_t high, int32_t other)
{
    int32_t value = (int8_t)high * 256 + low;
    return high == 127 && other < 8 ? 32768 + (int8_t)low / 8 : value % 100;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    frame_case frame;
    if (size < BYTES) {
        return 0;
    }
    frame.format = data[0] % FRAME_FORMATS;
    frame.height = side(data[1], data[2], 0);
    frame.width = side(data[3], data[4], frame.height);
    for (int plane = 0; plane < 3; plane++) {
        frame.padding[plane] = (int8_t)data[5 + plane];
        if (data[8] & (2u << plane)) {
            frame.padding[plane] = abs(frame.padding[plane]); /* or few cases would be good ones */
        }
    }
    frame.bottom_up = data[8] & 1;
    frame.yuv_range = (data[9] & 4u) ? (int8_t)data[9] : data[9] & 1;
    memcpy(&frame.seed, data + 10, sizeof frame.seed);
    if (heap_call(&frame)) {
        abort();
    }
    return 0;
}
