#pragma once
/* Connections of libmicrohttpd, each with a slot in a table of deadlines (deadlines.h).
 *
 *     MHD_start_daemon(…, MHD_OPTION_NOTIFY_CONNECTION, dp_connection_notify, deadlines, …);
 *     dp_deadlines_answering(deadlines, dp_connection_slot(connection));
 */
#include <microhttpd.h>
#include <stdarg.h>

/* dp_connection_notify is a MHD_NotifyConnectionCallback; its context is a struct dp_deadlines. */
void dp_connection_notify(void *deadlines, struct MHD_Connection *connection, void **state,
        enum MHD_ConnectionNotificationCode code);
/* dp_connection_slot gives the slot of a connection's deadline, -1 for none. */
int dp_connection_slot(struct MHD_Connection *connection);
/* dp_connection_silent is an MHD_OPTION_EXTERNAL_LOGGER that says nothing: what peers do wrong is no news, and what goes wrong at the start is told by the result. */
void dp_connection_silent(void *context, const char *format, va_list arguments);
