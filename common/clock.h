#pragma once
/* Time: the one place where clocks are read, and RFC 3339 texts. Cores take times as numbers and never call this.
 *
 *     int64_t start_us = sl_clock_monotonic_us();
 *     enum sl_status s = sl_time_parse_rfc3339(&published_s, "2026-11-23T08:31:02+08:00", err);
 *     s = sl_time_format(text, sizeof(text), published_s + duration_s, err);      // 2026-11-24T00:31:02Z
 *
 * Times of day are always written in UTC; leap seconds do not exist, as in unix time.
 */
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

#define SL_TIME_TEXT_MAX 32 /* bytes of a formatted time with its 0 */

/* sl_clock_monotonic_us never goes back and means nothing across processes. Units: microseconds. */
int64_t sl_clock_monotonic_us(void);

/* sl_clock_monotonic_ns is the same clock in nanoseconds, sl_clock_cpu_ns the time that all threads of this
 * process together have spent on cores, and sl_clock_thread_ns that of the calling thread: for measuring. */
int64_t sl_clock_monotonic_ns(void);
int64_t sl_clock_cpu_ns(void);
int64_t sl_clock_thread_ns(void);

/* sl_clock_wall_us is unix time, which may jump. Units: microseconds. */
int64_t sl_clock_wall_us(void);

/* sl_time_parse_rfc3339 reads "YYYY-MM-DDThh:mm:ss[.fraction](Z|+hh:mm|-hh:mm)"; t, z and a space for T are accepted, the fraction is
 * cut off, second 60 counts as 59. Units: seconds of unix time. Errors: BAD_DATA, with what is expected. */
SL_MUST_USE enum sl_status sl_time_parse_rfc3339(
        int64_t *ret_seconds, const char *text, struct sl_error *err);

/* sl_time_format writes "YYYY-MM-DDThh:mm:ssZ". Errors: BAD_DATA outside the years 0000 to 9999; then text is "". */
SL_MUST_USE enum sl_status sl_time_format(char *text, size_t size, int64_t seconds, struct sl_error *err);

/* sl_time_format_us writes "YYYY-MM-DDThh:mm:ss.mmmZ", for logs; a time that has no such form gives "-". */
void sl_time_format_us(char *text, size_t size, int64_t microseconds);
