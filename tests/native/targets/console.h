/* How a test program tells what it found, on a host and on a board alike. It ends by returning from main,
 * 0 if all is well. */
#ifndef UVA_TESTS_CONSOLE_H
#define UVA_TESTS_CONSOLE_H

#include <stdint.h>

void console_text(const char *text);

static inline void console_hex(uint64_t value)
{
    char text[17];
    for (int digit = 0; digit < 16; digit++) {
        text[digit] = "0123456789abcdef"[(value >> (60 - 4 * digit)) & 15u];
    }
    text[16] = '\0';
    console_text(text);
}

static inline void console_number(int32_t value)
{
    char text[12];
    char *at = text + sizeof text - 1;
    uint32_t rest = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
    *at = '\0';
    do {
        *--at = (char)('0' + rest % 10u);
        rest /= 10u;
    } while (rest > 0u);
    if (value < 0) {
        *--at = '-';
    }
    console_text(at);
}

#endif
