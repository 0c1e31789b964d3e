#pragma once
/* Connections that must say something soon: one that has not sent a whole request in time is cut off, however slowly it drips (libmicrohttpd's own
 * time-out starts anew with every byte). While an answer is under way there is no deadline.
 *
 *     dp_deadlines_open(table, fd, now) → slot; …_waiting(slot, now); …_answering(slot); …_close(slot)
 *     dp_deadlines_expire(table, now);                     // by a thread that looks regularly
 *
 * A descriptor is shut down, never closed, and only while its slot is held: it cannot be another's by then. Thread: any.
 */
#include "common/error.h"

#include <stdint.h>

struct dp_deadlines;

/* dp_deadlines_create makes a table for that many connections; request_us is what each has for a request to be whole, and between two. */
SL_MUST_USE enum sl_status dp_deadlines_create(
        struct dp_deadlines **ret_table, int connections, int64_t request_us, struct sl_error *err);
void dp_deadlines_destroy(struct dp_deadlines *table); /* NULL is fine */

/* dp_deadlines_open gives a slot for a new connection, -1 when all are taken. now_us is monotonic. */
int dp_deadlines_open(struct dp_deadlines *table, int fd, int64_t now_us);
void dp_deadlines_waiting(struct dp_deadlines *table, int slot, int64_t now_us);
void dp_deadlines_answering(struct dp_deadlines *table, int slot);
void dp_deadlines_close(struct dp_deadlines *table, int slot);
/* dp_deadlines_expire cuts off those that are late and gives how many. */
int dp_deadlines_expire(struct dp_deadlines *table, int64_t now_us);
