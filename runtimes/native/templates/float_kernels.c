/* --- float32: vectors ------------------------------------------------------------------------------------
   A panel is 16 output channels. It takes UVA_PARTS vectors; all that differs between processors is here. */

#if defined(__AVX512F__)
#include <immintrin.h>
#define UVA_KERNELS "avx512"
typedef __m512 uva_vector;
#define UVA_PARTS 1
#define UVA_WIDTH 16
#define UVA_TILE 8
#define uva_load(p) _mm512_loadu_ps(p)
#define uva_store(p, v) _mm512_storeu_ps(p, v)
#define uva_same(x) _mm512_set1_ps(x)
#define uva_multiply_add(a, b, c) _mm512_fmadd_ps(a, b, c)
#define UVA_KEEP(v) UVA_IN_REGISTER("+v", v)
#define uva_clip6(v) _mm512_min_ps(_mm512_max_ps(v, _mm512_setzero_ps()), _mm512_set1_ps(6.0f))
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define UVA_KERNELS "avx2"
typedef __m256 uva_vector;
#define UVA_PARTS 2
#define UVA_WIDTH 8
#define UVA_TILE 4
#define uva_load(p) _mm256_loadu_ps(p)
#define uva_store(p, v) _mm256_storeu_ps(p, v)
#define uva_same(x) _mm256_set1_ps(x)
#define uva_multiply_add(a, b, c) _mm256_fmadd_ps(a, b, c)
#define UVA_KEEP(v) UVA_IN_REGISTER("+x", v)
#define uva_clip6(v) _mm256_min_ps(_mm256_max_ps(v, _mm256_setzero_ps()), _mm256_set1_ps(6.0f))
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#define UVA_KERNELS "neon"
typedef float32x4_t uva_vector;
#define UVA_PARTS 4
#define UVA_WIDTH 4
#define UVA_TILE 4
#define uva_load(p) vld1q_f32(p)
#define uva_store(p, v) vst1q_f32(p, v)
#define uva_same(x) vdupq_n_f32(x)
#define uva_multiply_add(a, b, c) vfmaq_f32(c, a, b)
#define UVA_KEEP(v)
#define uva_clip6(v) vminq_f32(vmaxq_f32(v, vdupq_n_f32(0.0f)), vdupq_n_f32(6.0f))
#else
#define UVA_KERNELS "portable"
/* Four floats that a compiler keeps in registers, vector ones where it knows some. */
typedef struct {
    float lane[4];
} uva_vector;
#define UVA_PARTS 4
#define UVA_WIDTH 4
#define UVA_TILE 2
#define UVA_KEEP(v)

static uva_vector uva_load(const float *p)
{
    uva_vector v;
    memcpy(v.lane, p, sizeof v.lane);
    return v;
}

static void uva_store(float *p, uva_vector v)
{
    memcpy(p, v.lane, sizeof v.lane);
}

static uva_vector uva_same(float x)
{
    uva_vector v = {{x, x, x, x}};
    return v;
}

static uva_vector uva_multiply_add(uva_vector a, uva_vector b, uva_vector c)
{
    for (int i = 0; i < 4; i++) {
        c.lane[i] += a.lane[i] * b.lane[i];
    }
    return c;
}

static uva_vector uva_clip6(uva_vector v)
{
    for (int i = 0; i < 4; i++) {
        float x = v.lane[i] < 0.0f ? 0.0f : v.lane[i];
        v.lane[i] = x > 6.0f ? 6.0f : x;
    }
    return v;
}
#endif

#define UVA_PANEL 16

/* --- float32: convolutions as matrix products ------------------------------------------------------------ */

/* Weights [panels][depth][16] and biases [panels][16]. */
typedef struct {
    const float *weight;
    const float *bias;
    int32_t panels;
} uva_product;

/* Where the inputs of a product lie: at each pixel, `segments` runs of `length` floats. All strides in floats. */
typedef struct {
    const float *data;
    ptrdiff_t row;
    ptrdiff_t pixel;
    ptrdiff_t segment;
    int32_t segments;
    int32_t length;
} uva_source;

/* Where its outputs go; those of a pixel are contiguous. */
typedef struct {
    float *data;
    ptrdiff_t row;
    ptrdiff_t pixel;
} uva_target;

/* UVA_TILE pixels by `panels` (1 or 2, a constant where it is inlined) of 16 channels. */
UVA_INLINE void uva_tile(const uva_product *product, const uva_source *source, const float *from, int32_t panel,
                            int panels, ptrdiff_t step, float *to, int clip)
{
    const ptrdiff_t depth = (ptrdiff_t)source->segments * source->length * UVA_PANEL;
    const float *weight = product->weight + panel * depth;
    const float *bias = product->bias + panel * UVA_PANEL;
    uva_vector sum[UVA_TILE][2 * UVA_PARTS];
    for (int part = 0; part < panels * UVA_PARTS; part++) {
        uva_vector start = uva_load(bias + part * UVA_WIDTH);
        for (int pixel = 0; pixel < UVA_TILE; pixel++) {
            sum[pixel][part] = start;
        }
    }
    for (int32_t segment = 0; segment < source->segments; segment++) {
        const float *run = from + segment * source->segment;
        for (int32_t k = 0; k < source->length; k++) {
            uva_vector w[2 * UVA_PARTS];
            for (int part = 0; part < panels * UVA_PARTS; part++) {
                w[part] = uva_load(weight + (part / UVA_PARTS) * depth + (part % UVA_PARTS) * UVA_WIDTH);
                UVA_KEEP(w[part]);
            }
            for (int pixel = 0; pixel < UVA_TILE; pixel++) {
                uva_vector x = uva_same(run[pixel * source->pixel + k]);
                for (int part = 0; part < panels * UVA_PARTS; part++) {
                    sum[pixel][part] = uva_multiply_add(x, w[part], sum[pixel][part]);
                }
            }
            weight += UVA_PANEL;
        }
    }
    for (int pixel = 0; pixel < UVA_TILE; pixel++) {
        for (int part = 0; part < panels * UVA_PARTS; part++) {
            uva_vector v = sum[pixel][part];
            uva_store(to + pixel * step + part * UVA_WIDTH, clip ? uva_clip6(v) : v);
        }
    }
}

/* All pixels; `columns` is a multiple of 8. Panels are outermost: their weights stay in the first cache. */
static void uva_convolve(const uva_product *product, const uva_source *source, const uva_target *target, int32_t rows,
                         int32_t columns, int clip)
{
    const int pairs = UVA_PARTS == 1 ? 2 : 1; /* two panels at once, where there are registers for them */
    for (int32_t panel = 0; panel < product->panels;) {
        const int together = product->panels - panel >= pairs ? pairs : 1;
        for (int32_t row = 0; row < rows; row++) {
            for (int32_t column = 0; column < columns; column += UVA_TILE) {
                const float *from = source->data + row * source->row + column * source->pixel;
                float *to = target->data + row * target->row + column * target->pixel + panel * UVA_PANEL;
                if (together == 2) {
                    uva_tile(product, source, from, panel, 2, target->pixel, to, clip);
                } else {
                    uva_tile(product, source, from, panel, 1, target->pixel, to, clip);
                }
            }
        }
        panel += together;
    }
}

/* 3x3, every channel by itself, then ReLU6. `from` has a margin of zeros of one pixel around, weights are [9][channels].
   Rows are outermost: the three that a row of the output sees stay in the first cache for all channels. */
static void uva_depthwise(const float *weight, const float *bias, const float *from, float *to, int32_t channels,
                          int32_t size, int32_t stride)
{
    const ptrdiff_t row = (ptrdiff_t)(size + 2) * channels;
    const int32_t out = uva_strided(size, stride);
    for (int32_t y = 0; y < out; y++) {
        for (int32_t channel = 0; channel < channels; channel += UVA_WIDTH) {
            const float *at = from + (ptrdiff_t)y * stride * row + channel;
            float *after = to + (ptrdiff_t)y * out * channels + channel;
            uva_vector w[9];
            uva_vector start = uva_load(bias + channel);
            for (int tap = 0; tap < 9; tap++) {
                w[tap] = uva_load(weight + tap * channels + channel);
            }
            for (int32_t x = 0; x < out; x++) {
                uva_vector sum = start;
                for (int line = 0; line < 3; line++) {
                    for (int tap = 0; tap < 3; tap++) {
                        sum = uva_multiply_add(uva_load(at + line * row + tap * channels), w[3 * line + tap], sum);
                    }
                }
                uva_store(after, uva_clip6(sum));
                at += (ptrdiff_t)stride * channels;
                after += channels;
            }
        }
    }
}

/* exp(x) for x <= 0, within 2e-7 of it: 2^n by the exponent's bits, and a polynomial on half an octave to each side. */
static float uva_exp(float x)
{
    float scaled, whole, rest, power;
    int32_t bits;
    x = x > -87.0f ? x : -87.0f; /* NaN too, of a restored state: its conversion below would be undefined */
    scaled = x * 1.44269504f;
    whole = (float)(int32_t)(scaled - 0.5f);
    rest = x - whole * 0.693145752f;
    rest -= whole * 1.42860677e-6f;
    bits = ((int32_t)whole + 127) * (1 << 23);
    memcpy(&power, &bits, sizeof power);
    rest = 1.0f
           + rest
                 * (1.0f
                    + rest
                          * (0.5f
                             + rest
                                   * (0.166666667f
                                      + rest * (0.0416666667f + rest * (0.00833333333f + rest * 0.00138888889f)))));
    return rest * power;
}

/* A CA-Res block ([UVA] Fig. 6). */
typedef struct {
    uva_product expand;
    const float *depthwise;
    const float *depthwise_bias;
    uva_product project;
    const float *squeeze; /* [units][outputs], NULL for no attention */
    const float *excite;  /* [units][outputs] */
    int32_t units;
    int32_t max_pool;
    int32_t inputs;
    int32_t hidden;
    int32_t outputs;
    int32_t size;
    int32_t stride;
    int32_t residual;
} uva_block;
