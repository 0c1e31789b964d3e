#pragma once
/* JSON out: a writer into a growable, bounded buffer. JSON in is read with jansson.
 *
 *     SL_AUTO(sl_json_fini) struct sl_json json;
 *     sl_json_init(&json, 1 << 20);
 *     sl_json_object(&json, NULL);
 *     sl_json_int(&json, "step", step);
 *     sl_json_float(&json, "loss", loss);
 *     sl_json_end(&json);
 *     enum sl_status s = sl_json_finish(&json, &text, &size, err);     // {"step":12,"loss":0.25}
 *
 * Every value takes its key: the name inside an object, NULL inside an array and at the top. The first failure (memory, limit, depth)
 * sticks, later calls do nothing, and sl_json_finish reports it: no call in between needs a check. Several values at the top are
 * separated by a newline, which makes JSON lines. Numbers use the C locale's point: LC_NUMERIC must stay "C".
 */
#include "common/error.h"
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_JSON_DEPTH_MAX 32
#define SL_JSON_NUMBER_MAX 32 /* bytes of a formatted number with its 0 */

/* Fields are the writer's own; set pretty between init and the first value if people will read the text. */
struct sl_json {
    struct sl_text buffer;
    bool pretty; /* one member per line, indented by two spaces */
    int depth;
    char closer[SL_JSON_DEPTH_MAX];     /* '}' or ']' of each open level */
    bool filled[SL_JSON_DEPTH_MAX + 1]; /* the level has a member already */
};

/* sl_json_init begins an empty text of at most limit bytes. Nothing is allocated yet. */
void sl_json_init(struct sl_json *json, size_t limit);
void sl_json_fini(struct sl_json *json);
/* sl_json_reset empties the text and forgets a failure; the memory stays. */
void sl_json_reset(struct sl_json *json);

void sl_json_object(struct sl_json *json, const char *key); /* opens {, until sl_json_end */
void sl_json_array(struct sl_json *json, const char *key);  /* opens [, until sl_json_end */
void sl_json_end(struct sl_json *json);                     /* closes what was opened last */

/* sl_json_string escapes value; bytes that are not UTF-8 become U+FFFD; NULL is written as null. */
void sl_json_string(struct sl_json *json, const char *key, const char *value);
void sl_json_string_n(struct sl_json *json, const char *key, const char *value, size_t size);
void sl_json_int(struct sl_json *json, const char *key, int64_t value);
void sl_json_uint(struct sl_json *json, const char *key, uint64_t value);
/* sl_json_float and sl_json_double write the shortest decimal that reads back as the same number; NaN and infinities are null. */
void sl_json_float(struct sl_json *json, const char *key, float value);
void sl_json_double(struct sl_json *json, const char *key, double value);
void sl_json_bool(struct sl_json *json, const char *key, bool value);
void sl_json_null(struct sl_json *json, const char *key);
/* sl_json_raw puts in text that is JSON already; it is not looked at. */
void sl_json_raw(struct sl_json *json, const char *key, const char *text);

/* sl_json_finish gives the text, 0-terminated, without a final newline; everything that was opened must be closed (asserted).
 * ret_size may be NULL. Owns: *ret_text belongs to json and lives until its next call. Errors: NO_MEMORY, FAILED beyond limit or depth. */
SL_MUST_USE enum sl_status sl_json_finish(
        struct sl_json *json, const char **ret_text, size_t *ret_size, struct sl_error *err);
/* sl_json_print finishes and writes the text to standard output, as a line. Errors: as sl_json_finish. */
SL_MUST_USE enum sl_status sl_json_print(struct sl_json *json, struct sl_error *err);

/* sl_format_float and sl_format_double write the shortest decimal that reads back as the same finite number ("nan", "inf" and "-inf"
 * else), and return text. Shapes: text has SL_JSON_NUMBER_MAX bytes. */
const char *sl_format_float(char *text, float value);
const char *sl_format_double(char *text, double value);
