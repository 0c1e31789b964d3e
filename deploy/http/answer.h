#pragma once
/* Answers over libmicrohttpd: a response with the headers that every answer of this program has, and its common forms.
 *
 *     return dp_answer_text(connection, MHD_HTTP_NOT_FOUND, "nothing here\n", NULL, NULL);
 *
 * Every answer says the same to a browser: nothing from elsewhere, nothing guessed, nothing for other pages to read or frame.
 */
#include "common/json.h"
#include "common/text.h"

#include <microhttpd.h>

/* dp_answer_headers puts in type, caching, and what every answer says. */
void dp_answer_headers(struct MHD_Response *response, const char *type, const char *cache);
/* dp_answer_copy makes a response of a copy of the bytes; NULL when memory is out. */
struct MHD_Response *dp_answer_copy(const char *bytes, size_t size);
/* dp_answer_send queues the response and lets go of it. NULL (memory was out) closes the connection. */
enum MHD_Result dp_answer_send(
        struct MHD_Connection *connection, unsigned code, struct MHD_Response *response);

/* dp_answer_text sends plain text; all but 200 end the connection. header and its value may be NULL. */
enum MHD_Result dp_answer_text(struct MHD_Connection *connection, unsigned code, const char *text,
        const char *header, const char *value);
/* dp_answer_json finishes and sends json; 500 when it could not be written. */
enum MHD_Result dp_answer_json(struct MHD_Connection *connection, unsigned code, struct sl_json *json);
/* dp_answer_metrics finishes and sends a text for Prometheus. */
enum MHD_Result dp_answer_metrics(struct MHD_Connection *connection, struct sl_text *text);
