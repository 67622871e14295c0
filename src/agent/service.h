/* Many turns over one engine: one thread owns the engine and steps it, any number of others bring turns and take their
 * events.
 *
 *     service_open -> { service_submit -> { ticket_next .. TURN_DONE } -> ticket_close } -> service_close
 *
 * Turns join and leave between two steps (continuous batching). An event waits in its ticket's queue until it is taken;
 * a full queue pauses that turn alone. Turns that find no place wait; when one becomes free it goes to the owner with
 * the fewest turns running, and within an owner to the oldest, so that nobody can crowd others out by sending more.
 *
 * Thread safety: a ticket belongs to one thread, but for ticket_cancel, which any may call. */
#ifndef AGENT_SERVICE_H
#define AGENT_SERVICE_H

#include "agent/turn.h"

struct service_options {
    int max_running; /* turns computed at once: what the engine was opened for */
    int max_waiting; /* turns that wait for a place; 0: 64 */
    int max_owner;   /* .. of one owner; 0: as many as max_waiting */
    int max_events;  /* of one ticket, before its turn pauses; 0: 64 */
};

/* Why a turn was not taken. */
enum service_place {
    PLACE_TAKEN,
    PLACE_FULL,       /* too many wait */
    PLACE_OWNER_FULL, /* too many of this owner wait */
    PLACE_CLOSED,     /* service_stop */
};

struct service;
struct ticket;

/* Engine and harmony must outlive the service; nobody else may touch the engine meanwhile. */
goss_status service_open(struct service **service, struct engine *engine, const struct harmony *harmony,
                         const struct service_options *options, goss_error *error);
/* Takes no more turns and cancels all there are, whose events can still be taken. */
void service_stop(struct service *service);
void service_close(struct service *service); /* after every ticket; NULL is fine */

/* Prepares a turn in the caller's thread and puts it in line. Errors are those of turn_prepare, or GOSS_E_LIMIT with
 * *place saying which limit. The conversation may not be touched until TURN_DONE was taken or the ticket is closed; the
 * options are copied, but what they point to must live as long. */
goss_status service_submit(struct service *service, struct conversation *conversation,
                           const struct turn_options *options, struct ticket **ticket, enum service_place *place,
                           goss_error *error);

/* Tokens of the prompt. */
size_t ticket_prompt_size(const struct ticket *ticket);
/* Waits for the next event; never TURN_WAIT. Its pointers stay valid until the next call. TURN_DONE comes once and then
 * again for ever. */
void ticket_next(struct ticket *ticket, struct turn_event *event);
/* Everything sampled up to the event that was taken last. */
const struct sampled *ticket_sampled(const struct ticket *ticket, size_t *n);
/* The turn ends before the next step; its keys and values are given back then. */
void ticket_cancel(struct ticket *ticket);
/* Cancels if need be, and waits for the end of the step under way. NULL is fine. */
void ticket_close(struct ticket *ticket);

/* Counters since the start. Histograms count durations up to each of service_seconds, and last all of them. */
enum { SERVICE_BUCKETS = 12 };
extern const double service_seconds[SERVICE_BUCKETS];
struct service_histogram {
    uint64_t bucket[SERVICE_BUCKETS + 1];
    double sum;
};
struct service_stats {
    int running, waiting;
    uint64_t submitted, refused, finished[TURN_FAILED + 1];
    uint64_t prompt_tokens, cached_tokens, answer_tokens; /* of finished turns */
    struct service_histogram first, whole; /* seconds from submission to the first event, and to the last */
    struct engine_stats engine;
};
void service_stats(struct service *service, struct service_stats *stats);
/* Seconds after which a refused turn may find a place: what is in line, at the pace of late. At least 1, at most 60. */
int service_retry_after(struct service *service);

#endif
