/* The text of endpoints: see endpoint.h. */
#include "common/endpoint.h"

#include <stddef.h>
#include <string.h>

bool sl_endpoint_is_local(const char *endpoint)
{
    static const char *const local[] = {
            "tcp://127.", "tcp://localhost:", "tcp://[::1]:", "ipc://", "inproc://"};
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        if (strncmp(endpoint, local[i], strlen(local[i])) == 0)
            return true;
    return false;
}
