/* Cores to use: see cpu.h. In a container the host's cores are visible, the quota is what counts. */
#include "common/cpu.h"

#include <sched.h>
#include <stdio.h>

/* Version 2 control groups: "QUOTA PERIOD" or "max PERIOD". 0 = no quota. */
static int quota_cores(void)
{
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (file == NULL)
        return 0;
    long quota = 0, period = 0;
    int found = fscanf(file, "%ld %ld", &quota, &period);
    (void)fclose(file);
    if (found != 2 || quota <= 0 || period <= 0)
        return 0;
    return (int)((quota + period - 1) / period);
}

int sl_cpu_count(void)
{
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    int quota = quota_cores();
    if (quota > 0 && quota < cores)
        cores = quota;
    return cores < 1 ? 1 : cores;
}
