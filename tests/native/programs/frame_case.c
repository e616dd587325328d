#include "frame_case.h"

#include "uva.h"

static int32_t half(int32_t length)
{
    return length / 2 + length % 2;
}

/* Bytes in a row of a plane. */
static int32_t row_bytes(const frame_case *frame, int plane)
{
    switch (frame->format) {
    case BGR:
    case RGB:
        return 3 * frame->width;
    case GRAY:
        return frame->width;
    case YUYV:
        return 2 * frame->width;
    case NV12:
        return 2 * half(frame->width);
    case NV12_PLANES:
        return plane == 0 ? frame->width : 2 * half(frame->width);
    default:
        return plane == 0 ? frame->width : half(frame->width);
    }
}

static ptrdiff_t stride(const frame_case *frame, int plane)
{
    ptrdiff_t length = (ptrdiff_t)row_bytes(frame, plane) + frame->padding[plane];
    return frame->bottom_up ? -length : length;
}

static int planes(const frame_case *frame)
{
    return frame->format == I420_PLANES ? 3 : frame->format == NV12_PLANES ? 2 : 1;
}

int frame_case_status(const frame_case *frame)
{
    int whole = frame->format == NV12 || frame->format == I420;
    if (frame->width < 1 || frame->width > 32768 || frame->height < 1 || frame->height > 32768) {
        return UVA_ERROR_SIZE;
    }
    if (frame->format == YUYV && frame->width % 2 != 0) {
        return UVA_ERROR_SIZE;
    }
    for (int plane = 0; plane < planes(frame); plane++) {
        ptrdiff_t step = stride(frame, plane), row = row_bytes(frame, plane);
        if (step < row && (whole || step > -row)) {
            return UVA_ERROR_STRIDE;
        }
    }
    if (frame->format > GRAY && frame->yuv_range != UVA_YUV_LIMITED && frame->yuv_range != UVA_YUV_FULL) {
        return UVA_ERROR_RANGE;
    }
    return UVA_OK;
}

int frame_case_memory(const frame_case *frame, frame_memory memory[3])
{
    for (int plane = 0; plane < planes(frame); plane++) {
        ptrdiff_t step = stride(frame, plane);
        size_t distance = (size_t)(step < 0 ? -step : step);
        size_t rows = (size_t)(plane == 0 ? frame->height : half(frame->height));
        memory[plane].stride = step;
        memory[plane].bytes = (rows - 1) * distance + (size_t)row_bytes(frame, plane);
        memory[plane].top = step < 0 ? (rows - 1) * distance : 0;
    }
    size_t y_stride = (size_t)memory[0].stride, chroma_rows = (size_t)half(frame->height);
    if (frame->format == NV12) {
        memory[0].bytes = ((size_t)frame->height + chroma_rows - 1) * y_stride + (size_t)row_bytes(frame, 0);
    } else if (frame->format == I420) {
        size_t chroma_stride = (y_stride + 1) / 2;
        memory[0].bytes = (size_t)frame->height * y_stride + (2 * chroma_rows - 1) * chroma_stride +
                          (size_t)half(frame->width);
    }
    return planes(frame);
}

int frame_case_call(const frame_case *frame, const uint8_t *const begin[3], uint8_t *rgb)
{
    frame_memory memory[3] = {{0, 0, stride(frame, 0)}, {0, 0, stride(frame, 1)}, {0, 0, stride(frame, 2)}};
    const uint8_t *top[3] = {begin[0], begin[1], begin[2]};
    int32_t width = frame->width, height = frame->height;
    int range = frame->yuv_range;

    if (frame_case_status(frame) == UVA_OK) {
        int count = frame_case_memory(frame, memory);
        for (int plane = 0; plane < count; plane++) {
            top[plane] = begin[plane] + memory[plane].top;
        }
    }
    switch (frame->format) {
    case BGR:
        return uva_frame_bgr(top[0], width, height, memory[0].stride, rgb);
    case RGB:
        return uva_frame_rgb(top[0], width, height, memory[0].stride, rgb);
    case GRAY:
        return uva_frame_gray(top[0], width, height, memory[0].stride, rgb);
    case YUYV:
        return uva_frame_yuyv(top[0], width, height, memory[0].stride, range, rgb);
    case NV12:
        return uva_frame_nv12(top[0], width, height, memory[0].stride, range, rgb);
    case I420:
        return uva_frame_i420(top[0], width, height, memory[0].stride, range, rgb);
    case NV12_PLANES:
        return uva_frame_nv12_planes(top[0], memory[0].stride, top[1], memory[1].stride, width, height, range,
                                     rgb);
    default:
        return uva_frame_i420_planes(top[0], memory[0].stride, top[1], memory[1].stride, top[2],
                                     memory[2].stride, width, height, range, rgb);
    }
}

void frame_case_fill(uint8_t *bytes, size_t count, uint32_t *seed)
{
    for (size_t i = 0; i < count; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(*seed >> 24);
    }
}
