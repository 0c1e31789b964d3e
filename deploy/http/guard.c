/* Who may ask: see guard.h. */
#include "deploy/http/guard.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 256

/* Cuts ":PORT" and the brackets of IPv6 off; false when it is no host. */
static bool bare_host(char *name, const char *host)
{
    size_t length = strlen(host);
    if (length == 0 || length >= HOST_MAX)
        return false;
    const char *end = NULL;
    if (host[0] == '[') {
        end = strchr(host, ']');
        if (end == NULL || (end[1] != 0 && end[1] != ':'))
            return false;
        host++;
    } else {
        end = strchr(host, ':');
        if (end == NULL)
            end = host + length;
    }
    memcpy(name, host, (size_t)(end - host));
    name[end - host] = 0;
    return true;
}

bool dp_guard_host(const char *host, const char *allowed)
{
    char name[HOST_MAX];
    unsigned char address[sizeof(struct in6_addr)];
    if (host == NULL || !bare_host(name, host))
        return false;
    if (strcasecmp(name, "localhost") == 0 || (allowed != NULL && strcasecmp(name, allowed) == 0))
        return true;
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

bool dp_guard_is_loopback(const char *address)
{
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, address, &four) == 1)
        return (ntohl(four.s_addr) >> 24) == 127;
    return inet_pton(AF_INET6, address, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

bool dp_guard_equal(const char *expected, const char *given)
{
    size_t expected_size = strlen(expected), given_size = strlen(given);
    unsigned char different = expected_size != given_size;
    for (size_t i = 0; i < given_size; i++)
        different = (unsigned char)(different |
                                    (given[i] ^ expected[expected_size == 0 ? 0 : i % expected_size]));
    return different == 0;
}

bool dp_guard_bearer(const char *authorization, const char *token)
{
    return authorization != NULL && strncasecmp(authorization, "Bearer ", 7) == 0 &&
           dp_guard_equal(token, authorization + 7);
}

bool dp_guard_token_text(const char *text)
{
    size_t length = strlen(text);
    static const char characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    return length >= DP_TOKEN_MIN && length <= DP_TOKEN_MAX && strspn(text, characters) == length;
}
