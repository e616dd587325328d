/* The console of a program under an operating system. */
#include "console.h"

#include <stdio.h>

void console_text(const char *text)
{
    fputs(text, stdout);
}
