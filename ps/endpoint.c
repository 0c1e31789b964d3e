/* Where a process may listen: see endpoint.h. */
#include "ps/endpoint.h"

#include <string.h>

bool ps_endpoint_is_local(const char *endpoint)
{
    static const char *const local[] = {
            "tcp://127.", "tcp://localhost:", "tcp://[::1]:", "ipc://", "inproc://"};
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        if (strncmp(endpoint, local[i], strlen(local[i])) == 0)
            return true;
    return false;
}

enum sl_status ps_endpoint_check(
        const struct sl_config *config, const char *key, const char *endpoint, struct sl_error *err)
{
    if (ps_endpoint_is_local(endpoint))
        return SL_OK;
    if (config->cluster.insecure || config->cluster.keys[0] != 0)
        return SL_OK;
    return sl_fail(err, SL_KEYS,
            "%s %s can be reached from other machines, unencrypted: make keys (shelflife keygen DIR) and set "
            "cluster.keys, or use a loopback address, or set cluster.insecure: true in a network that you "
            "trust",
            key, endpoint);
}
