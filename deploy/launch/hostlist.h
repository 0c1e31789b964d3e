#pragma once
/* Slurm's notation of many hosts: "n[01-03,7],m2" is n01 n02 n03 n7 m2; several brackets in a name multiply, the last turning fastest.
 *
 *     char first[DP_HOST_MAX];
 *     enum sl_status s = dp_hostlist_nth(first, "n[01-03],m2", 0, err);
 *
 * Limits: a host has less than DP_HOST_MAX bytes, a name at most DP_HOSTLIST_BRACKETS brackets, a list at most DP_HOSTLIST_MAX hosts.
 */
#include "common/error.h"

#include <stddef.h>

#define DP_HOST_MAX 256
#define DP_HOSTLIST_BRACKETS 4
#define DP_HOSTLIST_MAX 65536

/* dp_hostlist_count gives the number of hosts. Errors: USAGE when the text is not a host list (says where it breaks). */
SL_MUST_USE enum sl_status dp_hostlist_count(size_t *ret_count, const char *text, struct sl_error *err);

/* dp_hostlist_nth gives the host of an index from 0. Shapes: host has DP_HOST_MAX bytes. Errors: USAGE as above, NOT_FOUND beyond the last. */
SL_MUST_USE enum sl_status dp_hostlist_nth(char *host, const char *text, size_t index, struct sl_error *err);
