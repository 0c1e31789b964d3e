/* A listening TCP socket: see listener.h. */
#include "deploy/http/listener.h"

#include "common/memory.h"
#include "deploy/http/guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

/* Splits "127.0.0.1:80", "[::1]:80", "localhost:80"; false when it is none of these. */
static bool parse(union address *address, socklen_t *size, char *host, size_t host_size, const char *text)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    if (colon == NULL || colon[1] < '0' || colon[1] > '9')
        return false;
    long port = strtol(colon + 1, &end, 10);
    size_t length = (size_t)(colon - text);
    bool brackets = length > 2 && text[0] == '[' && text[length - 1] == ']';
    if (*end != 0 || port > 65535 || length == 0 || length >= host_size)
        return false;
    (void)snprintf(
            host, host_size, "%.*s", (int)(brackets ? length - 2 : length), brackets ? text + 1 : text);
    if (strcmp(host, "localhost") == 0)
        (void)snprintf(host, host_size, "127.0.0.1");
    *address = (union address){0};
    if (!brackets && inet_pton(AF_INET, host, &address->four.sin_addr) == 1) {
        address->four.sin_family = AF_INET;
        address->four.sin_port = htons((uint16_t)port);
        *size = sizeof(address->four);
        return true;
    }
    if (brackets && inet_pton(AF_INET6, host, &address->six.sin6_addr) == 1) {
        address->six.sin6_family = AF_INET6;
        address->six.sin6_port = htons((uint16_t)port);
        *size = sizeof(address->six);
        return true;
    }
    return false;
}

static enum sl_status fail_bind(const char *bind_to, struct sl_error *err)
{
    const char *advice = errno == EADDRINUSE      ? ": take another port, or port 0 for any free one"
                         : errno == EACCES        ? ": ports below 1024 are the system's"
                         : errno == EADDRNOTAVAIL ? ": this machine has no such address"
                                                  : "";
    return sl_fail(err, SL_FAILED, "cannot listen on %s: %s%s", bind_to, strerror(errno), advice);
}

enum sl_status dp_listen(
        int *ret_fd, char *ret_url, const char *bind_to, bool has_token, struct sl_error *err)
{
    union address address;
    socklen_t size = 0;
    char host[64];
    if (!parse(&address, &size, host, sizeof(host), bind_to))
        return sl_fail(err, SL_USAGE, "--bind %s: expected ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:0",
                bind_to);
    SL_AUTO_CLOSE int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
            bind(fd, &address.any, size) != 0 || listen(fd, 64) != 0 ||
            getsockname(fd, &address.any, &size) != 0)
        return fail_bind(bind_to, err);
    if (!has_token && !dp_guard_is_loopback(host))
        return sl_fail(err, SL_USAGE,
                "--bind %s can be reached from other machines: give --token-file FILE, or bind to 127.0.0.1 "
                "and come through ssh",
                bind_to);
    bool six = address.any.sa_family == AF_INET6;
    (void)snprintf(ret_url, DP_URL_MAX, six ? "http://[%s]:%d/" : "http://%s:%d/", host,
            ntohs(six ? address.six.sin6_port : address.four.sin_port));
    *ret_fd = fd;
    fd = -1;
    return SL_OK;
}
