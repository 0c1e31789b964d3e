#pragma once
/* Who may ask: pure decisions on a request's headers, apart from the server so that tests reach every one.
 *
 * Host: a page elsewhere can point a name of its own at 127.0.0.1 and would then be let in by the browser (DNS rebinding); so a request must name this machine by
 * address, as localhost, or as what --allow-host gave. Token: compared in constant time; in the Authorization header, or in a cookie that /?token=… sets.
 */
#include <stdbool.h>
#include <stddef.h>

#define DP_TOKEN_MIN 16 /* bytes */
#define DP_TOKEN_MAX 256
#define DP_COOKIE "shelflife_token"

/* dp_guard_host tells whether a Host header's value (NULL: none was sent) may be served. allowed: one more name, or NULL. */
bool dp_guard_host(const char *host, const char *allowed);
/* dp_guard_is_loopback tells whether an address as text (127.0.0.1, ::1) is only reached from this machine. */
bool dp_guard_is_loopback(const char *address);

/* dp_guard_equal compares in a time that depends on the length of given alone. */
bool dp_guard_equal(const char *expected, const char *given);
/* dp_guard_bearer reads "Bearer TOKEN"; false when it is not that or another token. NULL is fine. */
bool dp_guard_bearer(const char *authorization, const char *token);
/* dp_guard_token_text tells whether a text can be a token: long enough, and of characters that stand unharmed in a header and a cookie. */
bool dp_guard_token_text(const char *text);
