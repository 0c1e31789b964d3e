/* Connections and their deadlines: see connection.h. */
#include "deploy/http/connection.h"

#include "common/clock.h"
#include "deploy/http/deadlines.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define SEND_BYTES                                                                                           \
    (256 << 10) /* that the kernel keeps for one who does not read; by itself it would go to megabytes */

void dp_connection_notify(void *deadlines, struct MHD_Connection *connection, void **state,
        enum MHD_ConnectionNotificationCode code)
{
    struct dp_deadlines *table = deadlines;
    if (code != MHD_CONNECTION_NOTIFY_STARTED) {
        dp_deadlines_close(table, (int)(intptr_t)*state - 1);
        *state = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    int slot = info == NULL ? -1 : dp_deadlines_open(table, info->connect_fd, sl_clock_monotonic_us());
    *state = (void *)(intptr_t)(slot + 1); /* NULL for none */
    int send_bytes = SEND_BYTES;
    if (info != NULL)
        (void)setsockopt(info->connect_fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes));
}

int dp_connection_slot(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL || info->socket_context == NULL ? -1 : (int)(intptr_t)info->socket_context - 1;
}

void dp_connection_silent(void *context, const char *format, va_list arguments)
{
    (void)context;
    (void)format;
    (void)arguments;
}
