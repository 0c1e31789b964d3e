/* Where a process may listen: see endpoint.h. */
#include "ps/endpoint.h"

#include "common/endpoint.h"

enum sl_status ps_endpoint_check(
        const struct sl_config *config, const char *key, const char *endpoint, struct sl_error *err)
{
    if (sl_endpoint_is_local(endpoint))
        return SL_OK;
    if (config->cluster.insecure || config->cluster.keys[0] != 0)
        return SL_OK;
    return sl_fail(err, SL_KEYS,
            "%s %s can be reached from other machines, unencrypted: make keys (shelflife keygen DIR) and set "
            "cluster.keys, or use a loopback address, or set cluster.insecure: true in a network that you "
            "trust",
            key, endpoint);
}
