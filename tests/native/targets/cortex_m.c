/*
 * A Cortex-M board from reset to main and back: vector table, memory, FPU, and Arm's semihosting for the
 * console and the exit status. The linker script cortex_m.ld says where things lie.
 */
#include "console.h"

#include <stddef.h>
#include <string.h>

enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026 };
enum { STATUS_OF_A_FAULT = 125 };

extern char data_begin[], data_end[], data_load[], bss_begin[], bss_end[], stack_top[];

int main(void);
void board_reset(void);
void board_start(void);
void board_fault(void);

static void semihosting(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void console_text(const char *text)
{
    semihosting(SYS_WRITE0, text);
}

static void leave(uint32_t status)
{
    const uint32_t block[2] = {APPLICATION_EXIT, status};
    for (;;) {
        semihosting(SYS_EXIT_EXTENDED, block);
    }
}

/*
 * The FPU (and MVE, where there is one) is off after reset, and a compiler may use it wherever it likes, so
 * it is turned on here (CPACR, coprocessors 10 and 11), before any C. CCR.LOB lets an M55 keep its loops in
 * hardware; the bit has no meaning on an M7.
 */
__attribute__((naked)) void board_reset(void)
{
    __asm__ volatile("ldr r0, =0xe000ed88\n"
                     "ldr r1, [r0]\n"
                     "orr r1, r1, #0x00f00000\n"
                     "str r1, [r0]\n"
                     "ldr r0, =0xe000ed14\n"
                     "ldr r1, [r0]\n"
                     "orr r1, r1, #0x00080000\n"
                     "str r1, [r0]\n"
                     "dsb\n"
                     "isb\n"
                     "b board_start\n");
}

void board_start(void)
{
    memcpy(data_begin, data_load, (size_t)(data_end - data_begin));
    memset(bss_begin, 0, (size_t)(bss_end - bss_begin));
    leave((uint32_t)main());
}

void board_fault(void)
{
    console_text("fault, CFSR ");
    console_hex(*(volatile uint32_t *)0xe000ed28u);
    console_text("\n");
    leave(STATUS_OF_A_FAULT);
}

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const struct {
    char *stack;
    vector handlers[15];
} vectors = {stack_top,
             {board_reset, board_fault, board_fault, board_fault, board_fault, board_fault, board_fault,
              board_fault, board_fault, board_fault, board_fault, board_fault, board_fault, board_fault,
              board_fault}};
