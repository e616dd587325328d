/*
 * The input's definition: a grid of 4 UVA_ROWS x 4 UVA_COLUMNS pixels is sampled at the cell centres,
 * row i at ((2i + 1) * height) / (8 UVA_ROWS), columns likewise; each sample is brought to RGB; and each
 * block of 4x4 samples becomes its mean, (sum + 8) >> 4. All in integers, so that all machines agree.
 */

#define UVA_OVERSAMPLING 4
#define UVA_FRAME_MAX_SIDE 32768

#if UVA_ROWS < 1 || UVA_ROWS > 256 || UVA_COLUMNS < 1 || UVA_COLUMNS > 256
#error "an input has 1 to 256 rows and columns"
#endif

/*
 * A call keeps these two on its stack, 14 UVA_COLUMNS bytes; for YUV it has a second table and a row of
 * samples, 26 UVA_COLUMNS in all. For a 64x64 input that is 896 and 1664 bytes.
 */

/*
 * Where sample s of cell j lies in its row, in bytes or pixels, is at[s][j]: samples of one s are neighbours,
 * so that adding up a cell's samples is adding up whole rows, which compilers vectorise.
 */
typedef struct {
    uint16_t at[UVA_OVERSAMPLING][UVA_COLUMNS];
} uva_frame_columns;

/* The sums of a row of cells for each channel, 16 * 255 at most. */
typedef struct {
    uint16_t of[3][UVA_COLUMNS];
} uva_frame_sums;

/*
 * The place of sample i of 4 n along a side of `length` pixels. 32 bits are enough: with length <= 2^15 and
 * n <= 2^8, (2i + 1) * length < 8 n * length <= 2^11 * 2^15 = 2^26. The result is below length, so it fits
 * uint16_t. `n` is a constant where this is called, so the division becomes a multiplication.
 */
static inline uint32_t uva_frame_sample(uint32_t i, uint32_t length, uint32_t n)
{
    return (2u * i + 1u) * length / (2u * UVA_OVERSAMPLING * n);
}

/*
 * The table for a plane where 1 << `shared` pixels of a row have one sample, of 1 << `step` bytes. The last
 * pixel is 32767 at most, so the last luma of YUYV is at 65534 and its last chroma at 65532: they fit.
 */
static void uva_frame_find_columns(uva_frame_columns *table, int32_t width, unsigned shared, unsigned step)
{
    for (uint32_t s = 0; s < UVA_OVERSAMPLING; s++) {
        for (uint32_t j = 0; j < UVA_COLUMNS; j++) {
            uint32_t pixel = uva_frame_sample(UVA_OVERSAMPLING * j + s, (uint32_t)width, UVA_COLUMNS);
            table->at[s][j] = (uint16_t)((pixel >> shared) << step);
        }
    }
}

/* The row of pixels that sample s of row i of the cells looks at. */
static ptrdiff_t uva_frame_row(uint32_t i, uint32_t s, int32_t height)
{
    return (ptrdiff_t)uva_frame_sample(UVA_OVERSAMPLING * i + s, (uint32_t)height, UVA_ROWS);
}

/* Writes a row of cells, red from sums->of[red] and so on, and clears the sums for the next row. */
static void uva_frame_store(uva_frame_sums *sums, int red, int green, int blue, uint8_t *rgb)
{
    for (size_t j = 0; j < UVA_COLUMNS; j++) {
        rgb[3 * j] = (uint8_t)((sums->of[red][j] + 8u) >> 4);
        rgb[3 * j + 1] = (uint8_t)((sums->of[green][j] + 8u) >> 4);
        rgb[3 * j + 2] = (uint8_t)((sums->of[blue][j] + 8u) >> 4);
    }
    memset(sums, 0, sizeof *sums);
}

static int uva_frame_is_size(int32_t width, int32_t height)
{
    return width >= 1 && width <= UVA_FRAME_MAX_SIDE && height >= 1 && height <= UVA_FRAME_MAX_SIDE;
}

/* In this form, since the smallest ptrdiff_t has no absolute value. */
static int uva_frame_is_stride(ptrdiff_t stride, ptrdiff_t row_bytes)
{
    return stride >= row_bytes || stride <= -row_bytes;
}

/* --- packed formats without arithmetic: whatever the order of the channels, their sums are the same --- */

static void uva_frame_add_gray(uva_frame_sums *sums, const uva_frame_columns *columns, const uint8_t *row)
{
    for (size_t j = 0; j < UVA_COLUMNS; j++) {
        unsigned sum = 0;
        for (size_t s = 0; s < UVA_OVERSAMPLING; s++) {
            sum += row[columns->at[s][j]];
        }
        sums->of[0][j] = (uint16_t)(sums->of[0][j] + sum);
    }
}

static void uva_frame_add_triples(uva_frame_sums *sums, const uva_frame_columns *columns, const uint8_t *row)
{
    for (size_t j = 0; j < UVA_COLUMNS; j++) {
        unsigned first = 0, second = 0, third = 0;
        for (size_t s = 0; s < UVA_OVERSAMPLING; s++) {
            const uint8_t *pixel = row + 3 * (size_t)columns->at[s][j];
            first += pixel[0];
            second += pixel[1];
            third += pixel[2];
        }
        sums->of[0][j] = (uint16_t)(sums->of[0][j] + first);
        sums->of[1][j] = (uint16_t)(sums->of[1][j] + second);
        sums->of[2][j] = (uint16_t)(sums->of[2][j] + third);
    }
}

/* `channels` is 1 or 3; `red`, `green` and `blue` are the channel of each. */
static int uva_frame_packed(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, int channels,
                            int red, int green, int blue, uint8_t *rgb)
{
    uva_frame_columns columns;
    uva_frame_sums sums;

    if (src == NULL || rgb == NULL) {
        return UVA_ERROR_NULL;
    }
    if (!uva_frame_is_size(width, height)) {
        return UVA_ERROR_SIZE;
    }
    if (!uva_frame_is_stride(stride, (ptrdiff_t)width * channels)) {
        return UVA_ERROR_STRIDE;
    }
    uva_frame_find_columns(&columns, width, 0, 0);
    memset(&sums, 0, sizeof sums);
    for (uint32_t i = 0; i < UVA_ROWS; i++) {
        for (uint32_t s = 0; s < UVA_OVERSAMPLING; s++) {
            const uint8_t *row = src + uva_frame_row(i, s, height) * stride;
            if (channels == 1) {
                uva_frame_add_gray(&sums, &columns, row);
            } else {
                uva_frame_add_triples(&sums, &columns, row);
            }
        }
        uva_frame_store(&sums, red, green, blue, rgb + (size_t)i * UVA_COLUMNS * 3);
    }
    return UVA_OK;
}

int uva_frame_bgr(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, uint8_t *rgb)
{
    return uva_frame_packed(src, width, height, stride, 3, 2, 1, 0, rgb);
}

int uva_frame_rgb(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, uint8_t *rgb)
{
    return uva_frame_packed(src, width, height, stride, 3, 0, 1, 2, rgb);
}

int uva_frame_gray(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, uint8_t *rgb)
{
    return uva_frame_packed(src, width, height, stride, 1, 0, 0, 0, rgb);
}

/* --- YUV: each sample is converted, and clipped, before the mean is taken ----------------------------- */

/* A frame whose size and strides were checked. Two pixels of a row always share a chroma sample. */
typedef struct {
    const uint8_t *y, *u, *v;
    ptrdiff_t y_stride, u_stride, v_stride;
    unsigned y_step;      /* log2 of the bytes from a luma sample to the next of its row */
    unsigned chroma_step; /* the same of u and of v */
    unsigned chroma_rows; /* log2 of the rows of pixels that share a row of chroma */
} uva_frame_yuv;

/* BT.601 in 1/65536: R = (y (Y - offset) + rv (V - 128) + 32768) >> 16, clipped to 0..255, and so on. */
typedef struct {
    int32_t offset, y, rv, gu, gv, bu;
} uva_frame_matrix;

static const uva_frame_matrix uva_frame_matrices[2] = {
    {16, 76309, 104597, 25675, 53279, 132201}, /* UVA_YUV_LIMITED */
    {0, 65536, 91881, 22554, 46802, 116130}    /* UVA_YUV_FULL */
};

/* Clips before the shift: what >> makes of a negative number is left to the compiler. */
static inline uint16_t uva_frame_clip(int32_t value)
{
    int32_t positive = value < 0 ? 0 : value;
    int32_t whole = positive >> 16;
    return (uint16_t)(whole > 255 ? 255 : whole);
}

/* `samples` are one a cell: Y in bits 0 to 7, U in 8 to 15, V in 16 to 23. */
static void uva_frame_add_yuv(uva_frame_sums *sums, const uint32_t samples[UVA_COLUMNS],
                              const uva_frame_matrix *matrix)
{
    const uva_frame_matrix m = *matrix;
    for (size_t j = 0; j < UVA_COLUMNS; j++) {
        int32_t luma = ((int32_t)(samples[j] & 255) - m.offset) * m.y + 32768;
        int32_t d = (int32_t)((samples[j] >> 8) & 255) - 128;
        int32_t e = (int32_t)(samples[j] >> 16) - 128;
        sums->of[0][j] = (uint16_t)(sums->of[0][j] + uva_frame_clip(luma + m.rv * e));
        sums->of[1][j] = (uint16_t)(sums->of[1][j] + uva_frame_clip(luma - m.gu * d - m.gv * e));
        sums->of[2][j] = (uint16_t)(sums->of[2][j] + uva_frame_clip(luma + m.bu * d));
    }
}

/* Collecting the samples takes most of the time and can't be vectorised, so the arithmetic is apart. */
static void uva_frame_add_yuv_row(uva_frame_sums *sums, const uva_frame_columns *luma,
                                  const uva_frame_columns *chroma, const uva_frame_yuv *frame, ptrdiff_t row,
                                  const uva_frame_matrix *matrix)
{
    const uint8_t *y = frame->y + row * frame->y_stride;
    const uint8_t *u = frame->u + (row >> frame->chroma_rows) * frame->u_stride;
    const uint8_t *v = frame->v + (row >> frame->chroma_rows) * frame->v_stride;
    uint32_t samples[UVA_COLUMNS];

    for (size_t s = 0; s < UVA_OVERSAMPLING; s++) {
        for (size_t j = 0; j < UVA_COLUMNS; j++) {
            uint32_t pair = u[chroma->at[s][j]] | (uint32_t)v[chroma->at[s][j]] << 8;
            samples[j] = y[luma->at[s][j]] | pair << 8;
        }
        uva_frame_add_yuv(sums, samples, matrix);
    }
}

static int uva_frame_from_yuv(const uva_frame_yuv *frame, int32_t width, int32_t height, int yuv_range,
                              uint8_t *rgb)
{
    uva_frame_columns luma, chroma;
    uva_frame_sums sums;

    if (yuv_range != UVA_YUV_LIMITED && yuv_range != UVA_YUV_FULL) {
        return UVA_ERROR_RANGE;
    }
    uva_frame_find_columns(&luma, width, 0, frame->y_step);
    uva_frame_find_columns(&chroma, width, 1, frame->chroma_step);
    memset(&sums, 0, sizeof sums);
    for (uint32_t i = 0; i < UVA_ROWS; i++) {
        for (uint32_t s = 0; s < UVA_OVERSAMPLING; s++) {
            uva_frame_add_yuv_row(&sums, &luma, &chroma, frame, uva_frame_row(i, s, height),
                                  &uva_frame_matrices[yuv_range]);
        }
        uva_frame_store(&sums, 0, 1, 2, rgb + (size_t)i * UVA_COLUMNS * 3);
    }
    return UVA_OK;
}

int uva_frame_yuyv(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, int yuv_range,
                   uint8_t *rgb)
{
    if (src == NULL || rgb == NULL) {
        return UVA_ERROR_NULL;
    }
    if (!uva_frame_is_size(width, height) || width % 2 != 0) {
        return UVA_ERROR_SIZE;
    }
    if (!uva_frame_is_stride(stride, 2 * (ptrdiff_t)width)) {
        return UVA_ERROR_STRIDE;
    }
    const uva_frame_yuv frame = {src, src + 1, src + 3, stride, stride, stride, 1, 2, 0};
    return uva_frame_from_yuv(&frame, width, height, yuv_range, rgb);
}

int uva_frame_nv12_planes(const uint8_t *y, ptrdiff_t y_stride, const uint8_t *uv, ptrdiff_t uv_stride,
                          int32_t width, int32_t height, int yuv_range, uint8_t *rgb)
{
    if (y == NULL || uv == NULL || rgb == NULL) {
        return UVA_ERROR_NULL;
    }
    if (!uva_frame_is_size(width, height)) {
        return UVA_ERROR_SIZE;
    }
    ptrdiff_t half = ((ptrdiff_t)width + 1) / 2;
    if (!uva_frame_is_stride(y_stride, width) || !uva_frame_is_stride(uv_stride, 2 * half)) {
        return UVA_ERROR_STRIDE;
    }
    const uva_frame_yuv frame = {y, uv, uv + 1, y_stride, uv_stride, uv_stride, 0, 1, 1};
    return uva_frame_from_yuv(&frame, width, height, yuv_range, rgb);
}

int uva_frame_i420_planes(const uint8_t *y, ptrdiff_t y_stride, const uint8_t *u, ptrdiff_t u_stride,
                          const uint8_t *v, ptrdiff_t v_stride, int32_t width, int32_t height, int yuv_range,
                          uint8_t *rgb)
{
    if (y == NULL || u == NULL || v == NULL || rgb == NULL) {
        return UVA_ERROR_NULL;
    }
    if (!uva_frame_is_size(width, height)) {
        return UVA_ERROR_SIZE;
    }
    ptrdiff_t half = ((ptrdiff_t)width + 1) / 2;
    if (!uva_frame_is_stride(y_stride, width) || !uva_frame_is_stride(u_stride, half) ||
        !uva_frame_is_stride(v_stride, half)) {
        return UVA_ERROR_STRIDE;
    }
    const uva_frame_yuv frame = {y, u, v, y_stride, u_stride, v_stride, 0, 0, 1};
    return uva_frame_from_yuv(&frame, width, height, yuv_range, rgb);
}

/* In one buffer the stride says where the chroma is, so it must be checked before that is computed. */
static int uva_frame_check_buffer(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride,
                                  const uint8_t *rgb)
{
    if (src == NULL || rgb == NULL) {
        return UVA_ERROR_NULL;
    }
    if (!uva_frame_is_size(width, height)) {
        return UVA_ERROR_SIZE;
    }
    return stride < width ? UVA_ERROR_STRIDE : UVA_OK;
}

int uva_frame_nv12(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, int yuv_range,
                   uint8_t *rgb)
{
    int status = uva_frame_check_buffer(src, width, height, stride, rgb);
    if (status != UVA_OK) {
        return status;
    }
    return uva_frame_nv12_planes(src, stride, src + stride * height, stride, width, height, yuv_range, rgb);
}

int uva_frame_i420(const uint8_t *src, int32_t width, int32_t height, ptrdiff_t stride, int yuv_range,
                   uint8_t *rgb)
{
    int status = uva_frame_check_buffer(src, width, height, stride, rgb);
    if (status != UVA_OK) {
        return status;
    }
    ptrdiff_t half_stride = stride / 2 + stride % 2;
    const uint8_t *u = src + stride * height;
    const uint8_t *v = u + half_stride * (height / 2 + height % 2);
    return uva_frame_i420_planes(src, stride, u, half_stride, v, half_stride, width, height, yuv_range, rgb);
}
