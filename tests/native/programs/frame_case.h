/* One call of a frame function, described by numbers: the same struct as FrameCase of ../frames.py. */
#ifndef UVA_TESTS_FRAME_CASE_H
#define UVA_TESTS_FRAME_CASE_H

#include <stddef.h>
#include <stdint.h>

enum frame_format { BGR, RGB, GRAY, YUYV, NV12, I420, NV12_PLANES, I420_PLANES, FRAME_FORMATS };

typedef struct {
    int format;
    int32_t width, height;
    int32_t padding[3]; /* bytes from the end of a row to the next, of each plane; one buffer has the first */
    int bottom_up;      /* strides have the other sign */
    int yuv_range;
    uint32_t seed;
} frame_case;

/* A piece of memory that a case needs. */
typedef struct {
    size_t bytes;
    size_t top; /* where its top row begins */
    ptrdiff_t stride;
} frame_memory;

/* What the call must return, by the documentation; all pointers being given. */
int frame_case_status(const frame_case *frame);

/* The pieces of memory of a case whose status is UVA_OK, to the byte; returns how many there are. */
int frame_case_memory(const frame_case *frame, frame_memory memory[3]);

/* The call, with the first byte of each piece; if the case is no good one, these are not looked at. */
int frame_case_call(const frame_case *frame, const uint8_t *const begin[3], uint8_t *rgb);

/* Pseudo-random bytes, of which the state is `seed`. */
void frame_case_fill(uint8_t *bytes, size_t count, uint32_t *seed);

#endif
