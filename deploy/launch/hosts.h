#pragma once
/* The hosts file of `shelflife ssh` and the plan that follows from it: which process runs on which host.
 *
 *     # host          role     slots
 *     user@big.lan    server
 *     n01.lan         worker   2
 *     n02.lan
 *
 * A line is `host [server|worker] [slots]`; '#' begins a comment. Slots, 1 by default, is how many processes of that role the host runs. A host without a role
 * runs workers, and is where servers go when no host has that role: server r to the r-th host, in a circle.
 */
#include "common/error.h"
#include "deploy/launch/hostlist.h"
#include "deploy/launch/node.h"

#define DP_HOSTS_MAX 256     /* hosts of a file */
#define DP_PROCESSES_MAX 256 /* of a plan */
#define DP_SLOTS_MAX 64

struct dp_host {
    char name[DP_HOST_MAX]; /* as ssh takes it */
    enum dp_role role;      /* AUTO = none was given */
    int slots;
};

struct dp_hosts {
    struct dp_host items[DP_HOSTS_MAX];
    int count;
};

struct dp_process {
    int host; /* index into dp_hosts */
    enum dp_role role;
    int rank; /* within the role */
};

struct dp_plan {
    struct dp_process
            items[DP_PROCESSES_MAX]; /* servers first, in order of rank; then workers, in order of rank */
    int count, servers, workers;
};

/* dp_hosts_parse reads a hosts file's text; name is the file's, for errors. Errors: USAGE with file, line and what is expected. */
SL_MUST_USE enum sl_status dp_hosts_parse(
        struct dp_hosts *ret_hosts, const char *text, const char *name, struct sl_error *err);

/* dp_hosts_plan places the processes. servers 0: as many as the file has server slots, at least 1. Errors: USAGE when a role has no place or a plan is too big. */
SL_MUST_USE enum sl_status dp_hosts_plan(
        struct dp_plan *ret_plan, const struct dp_hosts *hosts, int servers, struct sl_error *err);

/* dp_host_address gives the host without "user@". */
const char *dp_host_address(const struct dp_host *host);
