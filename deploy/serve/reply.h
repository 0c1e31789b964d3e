#pragma once
/* Answers as bytes: JSON for HTTP, protobuf for ZeroMQ. One place says what an answer holds and which code an error has.
 *
 *     dp_reply_json(&json, job);                              // {"id":…,"label":…,"model":{…}} or {"id":…,"error":…}
 *     s = dp_reply_pack(&bytes, &size, job, retry_s, err);
 */
#include "deploy/serve/service.h"

/* dp_reply_code gives the HTTP status code: 200, 400, 422, 503 or 500. */
unsigned dp_reply_code(enum sl_status status);

/* dp_reply_json writes the answer to a job that is done: one object. */
void dp_reply_json(struct sl_json *json, const struct dp_job *job);
/* dp_reply_error_json writes {"error":text}. */
void dp_reply_error_json(struct sl_json *json, const char *id, const char *text);

/* dp_reply_pack makes the protobuf answer to a job that is done, or that was refused: then status and error of the job say why. retry_s: for those who are to come again.
 * Owns: *ret_bytes, sl_free it. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status dp_reply_pack(void **ret_bytes, size_t *ret_size, const struct dp_job *job,
        unsigned code, int retry_s, struct sl_error *err);
