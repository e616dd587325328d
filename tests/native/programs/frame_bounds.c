/* All formats, directions and paddings with small sizes, and the longest sides; built with sanitizers. */
#include "console.h"
#include "heap_call.h"

static const int32_t sides[] = {1, 2, 3, 4, 5, 8, 31, 64, 129};
enum { SIDES = sizeof sides / sizeof sides[0] };

static int check(int format, int32_t width, int32_t height, int32_t padding, int bottom_up)
{
    const frame_case frame = {format, width, height, {padding, padding, padding}, bottom_up, padding % 2, 1u};
    int wrong = heap_call(&frame);
    if (wrong) {
        console_text("wrong: format ");
        console_number(format);
        console_text(", width ");
        console_number(width);
        console_text(", height ");
        console_number(height);
        console_text(", padding ");
        console_number(padding);
        console_text(bottom_up ? ", bottom-up\n" : "\n");
    }
    return wrong;
}

static int check_paddings(int format, int32_t width, int32_t height)
{
    static const int32_t paddings[] = {-1, 0, 1, 6};
    int wrong = 0;
    for (int p = 0; p < 4; p++) {
        for (int bottom_up = 0; bottom_up < 2; bottom_up++) {
            wrong += check(format, width, height, paddings[p], bottom_up);
        }
    }
    return wrong;
}

int main(void)
{
    int wrong = 0;
    for (int format = 0; format < FRAME_FORMATS; format++) {
        for (int w = 0; w < SIDES; w++) {
            for (int h = 0; h < SIDES; h++) {
                wrong += check_paddings(format, sides[w], sides[h]);
            }
        }
        for (int32_t longest = 32767; longest <= 32769; longest++) {
            wrong += check_paddings(format, longest, 3) + check_paddings(format, 2, longest);
        }
        wrong += check_paddings(format, 0, 4) + check_paddings(format, 4, 0) + check_paddings(format, -4, 4);
    }
    console_text(wrong ? "failed\n" : "done\n");
    return wrong != 0;
}
