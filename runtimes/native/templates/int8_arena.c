typedef int16_t uva_feature;

/* Vectors are loaded and stored unaligned, int16 and int32 are not: every array is a multiple of 16 bytes. The last
   pixel of the image is read as four bytes. */
typedef struct {
    union {
        struct {
            uint8_t image[((UVA_ROWS + 2) * (UVA_COLUMNS + 2) * 3 + 31) / 16 * 16];
            uint8_t first[UVA_ROWS * UVA_COLUMNS * UVA_NARROW];
        } early;
        uint8_t paths[UVA_QUARTER * UVA_QUARTER * UVA_PATHS];
    } shared;
    uint8_t hidden[UVA_ARENA_HIDDEN];
    uint8_t values[UVA_ARENA_VALUES];
    union {
        uint8_t both[UVA_ARENA_BOTH];
        int16_t kept[UVA_QUARTER * UVA_QUARTER * UVA_FUSED];
    } middle;
    uint8_t depthwise[UVA_ARENA_DEPTHWISE];
    int16_t wide[UVA_ARENA_WIDE];
    int16_t current[UVA_QUARTER * UVA_QUARTER * UVA_FEATURES];
} uva_arena;

/* Index in `wide` order. */
static ptrdiff_t uva_place(int32_t pixel, int32_t channel)
{
    const int32_t within = pixel % 4;
    const ptrdiff_t panel = (ptrdiff_t)(pixel / 4) * (UVA_FEATURES / 16) + channel / 16;
    return panel * 64 + within / 2 * 32 + channel % 16 / 4 * 8 + within % 2 * 4 + channel % 4;
}

static uva_feature uva_feature_of(float value)
{
    float scaled = value / UVA_STATE_SCALE;
    scaled = scaled < 32767.0f ? scaled : 32767.0f; /* NaN too: a conversion of it is undefined */
    scaled = scaled < -32768.0f ? -32768.0f : scaled;
    return (int16_t)(scaled < 0.0f ? scaled - 0.5f : scaled + 0.5f);
}
