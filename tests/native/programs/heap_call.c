#include "heap_call.h"

#include "uva.h"

#include <stdlib.h>
#include <string.h>

enum { RGB_BYTES = UVA_ROWS * UVA_COLUMNS * 3, UNWRITTEN = 0xa5 };

static uint8_t *allocate(size_t bytes)
{
    uint8_t *memory = malloc(bytes);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static int was_written(const uint8_t *rgb)
{
    for (size_t i = 0; i < RGB_BYTES; i++) {
        if (rgb[i] != UNWRITTEN) {
            return 1;
        }
    }
    return 0;
}

int heap_call(const frame_case *frame)
{
    int expected = frame_case_status(frame);
    frame_memory parts[3] = {{1, 0, 0}, {1, 0, 0}, {1, 0, 0}};
    uint8_t *memory[3], *rgb = allocate(RGB_BYTES);
    uint32_t seed = frame->seed;

    if (expected == UVA_OK) {
        frame_case_memory(frame, parts);
    }
    for (int part = 0; part < 3; part++) {
        memory[part] = allocate(parts[part].bytes);
        frame_case_fill(memory[part], parts[part].bytes, &seed);
    }
    memset(rgb, UNWRITTEN, RGB_BYTES);
    const uint8_t *const begin[3] = {memory[0], memory[1], memory[2]};
    int status = frame_case_call(frame, begin, rgb);
    int wrong = status != expected || (status != UVA_OK && was_written(rgb));
    for (int part = 0; part < 3; part++) {
        free(memory[part]);
    }
    free(rgb);
    return wrong;
}
