/* --- the interface --------------------------------------------------------------------------------------- */

enum { UVA_FRESH = 0x55564130, UVA_RUNNING = 0x55564131 };

typedef struct {
    int32_t mark;
    uva_arena *arena;
    uva_feature features[UVA_QUARTER * UVA_QUARTER * UVA_FEATURES];
} uva_stream;

/* An array of a negative size where the header promises too little. */
typedef char uva_state_fits[sizeof(uva_stream) <= UVA_STATE_BYTES ? 1 : -1];
typedef char uva_arena_fits[sizeof(uva_arena) <= UVA_ARENA_BYTES ? 1 : -1];

int uva_abi_version(void)
{
    return UVA_ABI_VERSION;
}

const uva_info *uva_model_info(void)
{
    static const uva_info info = {UVA_BUNDLE,  UVA_SHA256,   UVA_PRECISION, UVA_KERNELS, UVA_ROWS,
                                  UVA_COLUMNS, UVA_FEATURES, UVA_QUARTER,   UVA_QUARTER, UVA_MACS};
    return &info;
}

size_t uva_state_size(void)
{
    return sizeof(uva_stream);
}

size_t uva_arena_size(void)
{
    return sizeof(uva_arena);
}

static int uva_check(const uva_stream *stream)
{
    if (stream == NULL) {
        return UVA_ERROR_NULL;
    }
    if ((uintptr_t)stream % 16 != 0) {
        return UVA_ERROR_ALIGN;
    }
    return stream->mark == UVA_FRESH || stream->mark == UVA_RUNNING ? UVA_OK : UVA_ERROR_STATE;
}

static int uva_check_arena(const void *arena, size_t bytes)
{
    if (arena == NULL) {
        return UVA_ERROR_NULL;
    }
    if ((uintptr_t)arena % 16 != 0) {
        return UVA_ERROR_ALIGN;
    }
    return bytes < sizeof(uva_arena) ? UVA_ERROR_ARENA : UVA_OK;
}

int uva_init(void *state, void *arena, size_t arena_bytes)
{
    uva_stream *stream = state;
    int status = uva_check_arena(arena, arena_bytes);
    if (stream == NULL) {
        return UVA_ERROR_NULL;
    }
    if ((uintptr_t)stream % 16 != 0) {
        return UVA_ERROR_ALIGN;
    }
    if (status != UVA_OK) {
        return status;
    }
    memset(stream, 0, sizeof *stream);
    stream->mark = UVA_FRESH;
    stream->arena = arena;
    return UVA_OK;
}

int uva_reset(void *state)
{
    uva_stream *stream = state;
    const int status = uva_check(stream);
    if (status == UVA_OK) {
        stream->mark = UVA_FRESH;
    }
    return status;
}

int uva_move(void *state, void *arena, size_t arena_bytes)
{
    uva_stream *stream = state;
    int status = uva_check(stream);
    if (status == UVA_OK) {
        status = uva_check_arena(arena, arena_bytes);
    }
    if (status == UVA_OK) {
        stream->arena = arena;
    }
    return status;
}

int uva_step(void *state, const uint8_t *rgb, float *map)
{
    uva_stream *stream = state;
    const int status = uva_check(stream);
    if (status != UVA_OK) {
        return status;
    }
    if (rgb == NULL || map == NULL) {
        return UVA_ERROR_NULL;
    }
    uva_features(stream->arena, rgb, stream->arena->current);
    if (stream->mark == UVA_FRESH) {
        memcpy(stream->features, stream->arena->current, sizeof stream->features);
        stream->mark = UVA_RUNNING;
    }
#if UVA_LOOKAHEAD
    uva_head(stream->arena, stream->features, stream->arena->current, map);
#else
    uva_head(stream->arena, stream->arena->current, stream->features, map);
#endif
    memcpy(stream->features, stream->arena->current, sizeof stream->features);
    return UVA_OK;
}

int uva_clip(void *state, const uint8_t *rgb, int32_t frames, float *maps)
{
    int status = uva_check(state);
    if (status == UVA_OK && frames < 1) {
        status = UVA_ERROR_SIZE;
    }
    if (status == UVA_OK && (rgb == NULL || maps == NULL)) {
        status = UVA_ERROR_NULL;
    }
    for (int32_t frame = 0; status == UVA_OK && frame < frames; frame++) {
        const ptrdiff_t pixels = (ptrdiff_t)frame * UVA_ROWS * UVA_COLUMNS;
        status = uva_step(state, rgb + 3 * pixels, maps + pixels);
    }
    return status;
}

int uva_save(const void *state, float *features)
{
    const uva_stream *stream = state;
    const int status = uva_check(stream);
    if (status != UVA_OK) {
        return status;
    }
    if (features == NULL) {
        return UVA_ERROR_NULL;
    }
    if (stream->mark != UVA_RUNNING) {
        return UVA_ERROR_STATE;
    }
    for (int32_t pixel = 0; pixel < UVA_QUARTER * UVA_QUARTER; pixel++) {
        for (int32_t channel = 0; channel < UVA_FEATURES; channel++) {
            const uva_feature value = stream->features[uva_place(pixel, channel)];
            features[(ptrdiff_t)channel * UVA_QUARTER * UVA_QUARTER + pixel] = (float)value * UVA_STATE_SCALE;
        }
    }
    return UVA_OK;
}

int uva_restore(void *state, const float *features)
{
    uva_stream *stream = state;
    const int status = uva_check(stream);
    if (status != UVA_OK) {
        return status;
    }
    if (features == NULL) {
        return UVA_ERROR_NULL;
    }
    for (int32_t pixel = 0; pixel < UVA_QUARTER * UVA_QUARTER; pixel++) {
        for (int32_t channel = 0; channel < UVA_FEATURES; channel++) {
            const float value = features[(ptrdiff_t)channel * UVA_QUARTER * UVA_QUARTER + pixel];
            stream->features[uva_place(pixel, channel)] = uva_feature_of(value);
        }
    }
    stream->mark = UVA_RUNNING;
    return UVA_OK;
}
