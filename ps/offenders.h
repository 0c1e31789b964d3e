#pragma once
/* Peers that send what makes no sense: counted, and past a bound not listened to any more. One that is let in by its key, or is on the same
 * machine, and sends garbage is broken; each of its messages would cost a log line and the time to refuse it.
 *
 *     if (ps_offenders_note(&offenders, peer))
 *         … it reached the bound with this one: say so, take it for gone …
 *     if (ps_offenders_ignored(&offenders, peer))
 *         continue;
 *
 * Pure. Bounded: when the table is full, the peer with the fewest bad messages makes place.
 */
#include <stdbool.h>
#include <stdint.h>

#define PS_OFFENCES_MAX 100 /* bad messages of one incarnation of a peer */
#define PS_OFFENDERS_MAX 64 /* peers that are remembered */

struct ps_offender {
    uint64_t peer; /* incarnation */
    uint32_t count;
};

/* All zero to begin. Fields are for reading only. */
struct ps_offenders {
    struct ps_offender items[PS_OFFENDERS_MAX];
    int count;
    uint64_t total; /* bad messages of all peers */
};

/* ps_offenders_note counts a bad message. peer 0: nobody in particular, only the total counts. Returns true when this one is the last
 * that is borne. */
bool ps_offenders_note(struct ps_offenders *offenders, uint64_t peer);

/* ps_offenders_ignored tells whether the peer used up what is borne. */
bool ps_offenders_ignored(const struct ps_offenders *offenders, uint64_t peer);
