#pragma once
/* What an endpoint's text tells before anything is opened.
 *
 *     if (sl_endpoint_is_local("tcp://127.0.0.1:5555")) …
 */
#include <stdbool.h>

/* sl_endpoint_is_local tells whether only this machine reaches an endpoint. */
bool sl_endpoint_is_local(const char *endpoint);
