/* Host lists of Slurm and hosts files: any bytes are an error at worst, and what is taken keeps its limits. */
#include "common/memory.h"
#include "deploy/launch/hosts.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_list(const char *text)
{
    struct sl_error err = {0};
    char host[DP_HOST_MAX];
    size_t count = 0;
    if (dp_hostlist_count(&count, text, &err) != SL_OK)
        return;
    if (count == 0 || count > DP_HOSTLIST_MAX)
        abort();
    for (size_t i = 0; i <= count; i += count / 8 + 1) /* a host may be too long, its index is never wrong */
        if (dp_hostlist_nth(host, text, i, &err) == (i < count ? SL_NOT_FOUND : SL_OK))
            abort();
}

static void try_file(const char *text)
{
    struct sl_error err = {0};
    SL_AUTO_FREE struct dp_hosts *hosts = sl_alloc(1, sizeof(*hosts));
    SL_AUTO_FREE struct dp_plan *plan = sl_alloc(1, sizeof(*plan));
    if (dp_hosts_parse(hosts, text, "hosts", &err) != SL_OK || dp_hosts_plan(plan, hosts, 0, &err) != SL_OK)
        return;
    if (plan->servers < 1 || plan->workers < 1 || plan->count > DP_PROCESSES_MAX)
        abort();
    for (int i = 0; i < plan->count; i++)
        if (plan->items[i].host < 0 || plan->items[i].host >= hosts->count ||
                hosts->items[plan->items[i].host].name[0] == '-')
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SL_AUTO_FREE char *text = sl_alloc(size + 1, 1);
    memcpy(text, data, size);
    try_list(text);
    try_file(text);
    return 0;
}
