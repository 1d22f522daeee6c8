/* alloc_fault.h: makes the nth allocation fail (alloc_fault.c, linked with -Wl,--wrap). */
#ifndef TANSY_TESTS_ALLOC_FAULT_H
#define TANSY_TESTS_ALLOC_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* the allocation after the next `nth` ones fails, once; from any thread */
void alloc_fault_arm(uint32_t nth);
/* no more failures; whether one happened */
bool alloc_fault_disarm(void);

#endif
