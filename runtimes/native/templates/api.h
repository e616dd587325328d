/* A stream is a state; while a frame is computed it also needs an arena. Both are memory of the caller's, of the sizes
   below and aligned to 16 bytes. Nothing else is written, so different states run in different threads at the same
   time, each with an arena of its own. One arena may serve many states in turn (uva_move). */

/* What a model is. */
#ifndef UVA_INFO
#define UVA_INFO
typedef struct {
    const char *bundle;    /* name and version of what it was made from */
    const char *sha256;    /* of its weights */
    const char *precision; /* "fp32" or "int8" */
    const char *kernels;   /* "avx512_vnni", "avx_vnni", "avx512", "avx2", "neon_dotprod", "neon" or "portable" */
    int32_t rows;          /* of its input and of its map */
    int32_t columns;
    int32_t features;   /* channels of the state */
    int32_t state_rows; /* and its size: R/4 */
    int32_t state_columns;
    int32_t macs; /* multiply-accumulates of one step */
} uva_info;
#endif

/* Changes with the functions of this header; the header's own is UVA_ABI_VERSION. */
int uva_abi_version(void);
const uva_info *uva_model_info(void);
size_t uva_state_size(void);
size_t uva_arena_size(void);

/* Makes memory of uva_state_size() bytes a stream that has seen nothing, which computes in `arena`. */
int uva_init(void *state, void *arena, size_t arena_bytes);

/* Forgets the past, as after a cut: the next frame is a first one, which is its own predecessor. */
int uva_reset(void *state);

/* Gives a stream another arena; it keeps what it remembers. */
int uva_move(void *state, void *arena, size_t arena_bytes);

/* The next frame of a stream, [rows][columns][3] RGB (uva_frame_... make it), to its map, [rows][columns] in [0, 1].
   A network that compares a frame with the one after it (pairing "lookahead") gives the map of the frame before. */
int uva_step(void *state, const uint8_t *rgb, float *map);

/* The same for `frames` consecutive ones, at least 1, each behind the other: an archive. */
int uva_clip(void *state, const uint8_t *rgb, int32_t frames, float *maps);

/* What a stream remembers, f_s of its last frame, as float [features][state_rows][state_columns]: as the other
   artifacts of the bundle have it. Before the first frame there is none: UVA_ERROR_STATE. */
int uva_save(const void *state, float *features);
int uva_restore(void *state, const float *features);
