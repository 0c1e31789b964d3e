#pragma once
/* The ZeroMQ side of `shelflife serve`: a ROUTER, to which clients connect a REQ socket (or a DEALER that sends an empty part first). A request is a protobuf header and raw
 * tensor frames, the reply one protobuf message: proto/serve.proto.
 *
 *     dp_socket_create(&socket, &options, service, err);
 *     … dp_service_drain …
 *     dp_socket_destroy(socket);      // sends what is to be sent
 *
 * With keys everything is encrypted with CURVE, and only clients whose keys are allowed come in. Thread: its own, which owns the socket.
 */
#include "common/keys.h"
#include "deploy/serve/service.h"

struct dp_socket;

struct dp_socket_options {
    const char *endpoint;       /* tcp://ADDRESS:PORT, port 0 = any free one; ipc://PATH */
    const struct sl_keys *keys; /* a server's; NULL = not encrypted. Borrowed until destroy */
    size_t request_max;         /* bytes of all frames of a request */
};

/* Errors: FAILED (in use, no such address), KEYS, NO_MEMORY. Owns: *ret_socket; borrows service. */
SL_MUST_USE enum sl_status dp_socket_create(struct dp_socket **ret_socket,
        const struct dp_socket_options *options, struct dp_service *service, struct sl_error *err);
/* dp_socket_destroy sends the answers that are there and ends the thread. The service must have nothing in flight. NULL is fine. */
void dp_socket_destroy(struct dp_socket *socket);

const char *dp_socket_endpoint(const struct dp_socket *socket); /* with its real port */
/* dp_socket_busy counts requests whose answer was not handed to ZeroMQ yet. */
int dp_socket_busy(struct dp_socket *socket);
