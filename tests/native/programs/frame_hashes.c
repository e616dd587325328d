/*
 * Writes a line for each case: a hash of the network's input, or the status if it isn't 0. The header
 * frame_cases.h is written by the test: `static const frame_case frame_cases[]`, and FRAME_CASES_BYTES, the
 * memory that the largest of them needs.
 */
#include "console.h"
#include "frame_case.h"
#include "frame_cases.h"
#include "uva.h"

static uint8_t memory[FRAME_CASES_BYTES];
static uint8_t rgb[UVA_ROWS * UVA_COLUMNS * 3];

static uint64_t fnv1a(const uint8_t *bytes, size_t count)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    }
    return hash;
}

/* The planes lie one after the other, and so at odd addresses too. */
static int call(const frame_case *frame)
{
    frame_memory parts[3];
    const uint8_t *begin[3] = {memory, memory, memory};
    uint32_t seed = frame->seed;
    size_t used = 0;
    int count = frame_case_memory(frame, parts);
    for (int part = 0; part < count; part++) {
        begin[part] = memory + used;
        used += parts[part].bytes;
    }
    frame_case_fill(memory, used, &seed);
    return frame_case_call(frame, begin, rgb);
}

int main(void)
{
    for (size_t i = 0; i < sizeof frame_cases / sizeof frame_cases[0]; i++) {
        int status = call(&frame_cases[i]);
        if (status == UVA_OK) {
            console_hex(fnv1a(rgb, sizeof rgb));
        } else {
            console_number(status);
        }
        console_text("\n");
    }
    return 0;
}
