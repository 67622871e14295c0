/* gossamer: one program, one command per file of this folder. */
#include <stdio.h>

#include "gossamer.h"

int main(void)
{
    (void)puts("gossamer " GOSS_VERSION);
    return 0;
}
