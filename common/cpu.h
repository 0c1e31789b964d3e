#pragma once
/* How many cores this process may use: affinity mask and cgroup quota, whichever is less. At least 1. */
int sl_cpu_count(void);
