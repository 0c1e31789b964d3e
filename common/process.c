/* What a process says of itself: see process.h. */
#include "common/process.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

enum sl_status sl_process_draw(uint64_t *ret_number, struct sl_error *err)
{
    uint64_t number = 0;
    while (number == 0)
        if (getrandom(&number, sizeof(number), 0) != sizeof(number))
            return sl_fail_errno(err, "cannot draw a random number");
    *ret_number = number;
    return SL_OK;
}

void sl_process_host(char *host, size_t size)
{
    if (gethostname(host, size) != 0)
        (void)snprintf(host, size, "unknown");
    host[size - 1] = 0; /* a longer name is cut without an end */
}

uint64_t sl_process_memory(void)
{
    char text[128];
    uint64_t pages = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t size = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    if (size <= 0)
        return 0;
    text[size] = 0;
    if (sscanf(text, "%*u %" SCNu64, &pages) != 1)
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
