/*
 * Where people would look, frame after frame, as a camera's firmware would ask: NV12 frames in, one line each out.
 *
 *     camera WIDTH HEIGHT [FILE]       without FILE, frames come from standard input
 *
 * The header of an exported model is named by the Makefile (UVA_MODEL); short names are that model's.
 */
#include UVA_MODEL

#include <stdio.h>
#include <stdlib.h>

enum { LONGEST = 32768 };

/* All that the model needs. With a second camera there is a second state; the arena serves both in turn. */
static uint8_t state[UVA_STATE_BYTES] __attribute__((aligned(16)));
static uint8_t arena[UVA_ARENA_BYTES] __attribute__((aligned(16)));
static uint8_t rgb[UVA_ROWS * UVA_COLUMNS * 3];
static float map[UVA_ROWS * UVA_COLUMNS];

static int fail(const char *what)
{
    fprintf(stderr, "camera: %s\n", what);
    return EXIT_FAILURE;
}

static int watch(FILE *video, uint8_t *frame, size_t bytes, int32_t width, int32_t height)
{
    int status = uva_init(state, arena, sizeof arena);
    size_t got = 0;
    for (long index = 0; status == UVA_OK && (got = fread(frame, 1, bytes, video)) == bytes; index++) {
        float x, y, value;
        status = uva_frame_nv12(frame, width, height, width, UVA_YUV_LIMITED, rgb);
        status = status == UVA_OK ? uva_step(state, rgb, map) : status;
        status = status == UVA_OK ? uva_peak(map, width, height, &x, &y, &value) : status;
        if (status == UVA_OK) {
            printf("%ld %.2f %.2f %.4f\n", index, (double)x, (double)y, (double)value);
        }
    }
    if (status != UVA_OK) {
        return fail(uva_strerror(status));
    }
    return got == 0 && !ferror(video) ? EXIT_SUCCESS : fail("the video ends within a frame");
}

int main(int argc, char **argv)
{
    const long width = argc > 2 ? strtol(argv[1], NULL, 10) : 0;
    const long height = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
    if (argc < 3 || argc > 4 || width < 2 || width > LONGEST || width % 2 || height < 1 || height > LONGEST) {
        return fail("expected WIDTH HEIGHT [FILE]: an even width and a height of at most 32768, raw NV12 frames");
    }
    FILE *video = argc == 4 ? fopen(argv[3], "rb") : stdin;
    const size_t bytes = (size_t)width * (size_t)(height + (height + 1) / 2);
    uint8_t *frame = malloc(bytes);
    int result = EXIT_FAILURE;
    if (video == NULL || frame == NULL) {
        fail(video == NULL ? "can't open the video" : "no memory for a frame");
    } else {
        result = watch(video, frame, bytes, (int32_t)width, (int32_t)height);
    }
    free(frame);
    if (video != NULL && video != stdin) {
        fclose(video);
    }
    return result;
}
