typedef float uva_feature;

typedef struct {
    float image[(UVA_ROWS + 2) * (UVA_COLUMNS + 2) * 3];
    float a[UVA_ARENA_VALUES];
    float b[UVA_ARENA_VALUES];
    float hidden[UVA_ARENA_HIDDEN];
    float depthwise[UVA_ARENA_DEPTHWISE];
    float projected[UVA_ARENA_WIDE];
    float paths[UVA_QUARTER * UVA_QUARTER * UVA_PATHS];
    float current[UVA_QUARTER * UVA_QUARTER * UVA_FEATURES];
} uva_arena;

#define UVA_STATE_SCALE 1.0f

static ptrdiff_t uva_place(int32_t pixel, int32_t channel)
{
    return (ptrdiff_t)pixel * UVA_FEATURES + channel;
}

static uva_feature uva_feature_of(float value)
{
    return value;
}
