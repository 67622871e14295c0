/* Lets one allocation fail and looks at what comes of it. The program must be linked with the options that
 * tests/CMakeLists.txt gives to test_torture.c: malloc, its relatives, mmap and pthread_create then come here first.
 * What shared libraries allocate for themselves does not fail: jansson's reader aborts when it does. */
#ifndef SUPPORT_TORTURE_H
#define SUPPORT_TORTURE_H

#include "base/error.h"

/* Does something from beginning to end and gives everything back, whether it works or not. A status of GOSS_OK says
 * that the result was looked at and is right. */
typedef goss_status tortured(void *argument, goss_error *error);

/* Runs it once untroubled, then again and again: with its first allocation failing, its second, and so on; and once
 * more for each with all allocations from there on failing. Asserts that each run works or fails with a message and a
 * status that says why, and that nothing allocated is left. Of more than 200 allocations, ever fewer are tried.
 * Afterwards it must work again. */
void torture(tortured *run, void *argument);

#endif
