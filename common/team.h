#pragma once
/* Threads that work together on one thing: a piece of work is cut into parts, each part is done once by whoever is free, and the caller goes on when all are done.
 *
 *     struct sl_team *team = NULL;
 *     enum sl_status s = sl_team_create(&team, 4, err);          // the caller and three more
 *     sl_team_run(team, parts, do_part, &context);               // do_part(&context, 0 … parts - 1, member)
 *
 * How work is cut must follow from the work and never from the number of threads, and parts must not write what others read or write: then the
 * result does not depend on the team. A team of NULL is the caller alone.
 * Thread: one thread at a time runs a team; create and destroy by the same or in turn. The threads sleep between runs.
 */
#include "common/error.h"

#define SL_TEAM_MAX 1024 /* threads, the caller counted */

struct sl_team;

/* Does one part. member: which thread does it, 0 … threads - 1 (0 is the caller): for scratch. */
typedef void sl_team_work(void *context, int part, int member);

/* sl_team_create starts threads - 1 threads, 1 <= threads <= SL_TEAM_MAX (asserted). Owns: *ret_team. Errors: NO_MEMORY, FAILED. */
SL_MUST_USE enum sl_status sl_team_create(struct sl_team **ret_team, int threads, struct sl_error *err);
/* sl_team_destroy ends the threads. NULL is fine. */
void sl_team_destroy(struct sl_team *team);

/* sl_team_run does the parts 0 … count - 1 and returns when all of them are done; what they wrote can be read then. */
void sl_team_run(struct sl_team *team, int count, sl_team_work *work, void *context);

int sl_team_threads(const struct sl_team *team); /* 1 for NULL */
