/*
 * From a camera frame to the network's input, without a full-size conversion: each function reads 16 pixels
 * for each cell of the input, whatever the frame's size, and writes `rgb`, UVA_ROWS x UVA_COLUMNS x 3 bytes,
 * R G B. The frame is stretched to the input; there is no crop and no letterbox.
 *
 * Common to all:
 * - `width` and `height` in pixels, 1..32768 each. No pointer needs an alignment.
 * - A stride is the distance in bytes from a row to the next, at least a row's length; what lies between rows
 *   is never read, nor is what lies behind the last row. A negative stride is a frame stored bottom-up: the
 *   pointer is to the row shown on top, the last in memory.
 * - `rgb` does not overlap the frame. It is written only where UVA_OK is returned.
 * - A call takes about 16 UVA_COLUMNS bytes of stack for packed RGB and gray, 28 UVA_COLUMNS for YUV: 1.8 KB
 *   for a 64x64 input.
 * - Returns UVA_OK, or the first that holds of UVA_ERROR_NULL, UVA_ERROR_SIZE, UVA_ERROR_STRIDE and
 *   UVA_ERROR_RANGE.
 */

#ifndef UVA_YUV_RANGE
#define UVA_YUV_RANGE
/* Which numbers YUV frames use. BT.601 both. */
enum uva_yuv_range {
    UVA_YUV_LIMITED = 0, /* luma 16..235, chroma 16..240: video and most cameras */
    UVA_YUV_FULL = 1     /* 0..255: JPEG, and cameras that say so */
};
#endif

/* Packed: 3 bytes a pixel, B G R or R G B; 1 byte a pixel for gray. Strides may be negative. */
int uva_frame_bgr(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, uint8_t *rgb);
int uva_frame_rgb(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, uint8_t *rgb);
int uva_frame_gray(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, uint8_t *rgb);

/* Packed 4:2:2, also called YUY2: Y0 U Y1 V for two pixels. `width` is even. The stride may be negative. */
int uva_frame_yuyv(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, int yuv_range,
                   uint8_t *rgb);

/*
 * 4:2:0 in one buffer: `height` rows of luma, then the chroma, (height + 1) / 2 rows of (width + 1) / 2
 * samples.
 * NV12: the rows of U V pairs have the stride of the luma, which for an odd width is at least width + 1.
 * I420: all rows of U, then all of V, with a stride of (stride + 1) / 2.
 * The stride is positive. Where planes lie otherwise, use the functions below.
 */
int uva_frame_nv12(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, int yuv_range,
                   uint8_t *rgb);
int uva_frame_i420(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, int yuv_range,
                   uint8_t *rgb);

/* 4:2:0 in separate planes, each with its stride, which may be negative. YV12 is I420 with V before U. */
int uva_frame_nv12_planes(const uint8_t *y, ptrdiff_t y_stride, const uint8_t *uv, ptrdiff_t uv_stride,
                          int32_t width, int32_t height, int yuv_range, uint8_t *rgb);
int uva_frame_i420_planes(const uint8_t *y, ptrdiff_t y_stride, const uint8_t *u, ptrdiff_t u_stride,
                          const uint8_t *v, ptrdiff_t v_stride, int32_t width, int32_t height, int yuv_range,
                          uint8_t *rgb);
