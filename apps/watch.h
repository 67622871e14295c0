/* Work that takes long, done by a thread of its own while this one draws its progress and listens for Ctrl-C. */
#ifndef APPS_WATCH_H
#define APPS_WATCH_H

#include "model/pack.h"

/* Runs work(argument, error) and returns what it returns. A bar named `what` is drawn as soon as progress->total is
 * known; Ctrl-C (see interrupts_catch) sets progress->cancel. */
goss_status watch(const char *what, goss_status (*work)(void *argument, goss_error *error), void *argument,
                  struct pack_progress *progress, goss_error *error);

#endif
