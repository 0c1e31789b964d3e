/* Clocks and RFC 3339 texts: see clock.h. The calendar arithmetic is our own: timegm and gmtime_r depend on tzdata and on the C library's
 * idea of leap seconds. */
#include "common/clock.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_S 86400
#define FIRST_S (-62167219200LL) /* 0000-01-01T00:00:00Z */
#define LAST_S 253402300799LL    /* 9999-12-31T23:59:59Z */

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now = {0, 0};
    (void)clock_gettime(clock, &now); /* cannot fail for the clocks asked */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t sl_clock_monotonic_us(void)
{
    return clock_ns(CLOCK_MONOTONIC) / 1000;
}

int64_t sl_clock_wall_us(void)
{
    return clock_ns(CLOCK_REALTIME) / 1000;
}

int64_t sl_clock_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

int64_t sl_clock_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t sl_clock_thread_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

struct civil {
    int year, month, day; /* month 1..12, day 1..31 */
};

/* days since 1970-01-01 in the proleptic Gregorian calendar, counted in eras of 400 years that begin on 1 March (Hinnant,
 * "chrono-compatible low-level date algorithms") */
static int64_t days_from_civil(struct civil date)
{
    int64_t year = date.month <= 2 ? date.year - 1 : date.year;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t month = (date.month + 9) % 12;
    int64_t day_of_year = (153 * month + 2) / 5 + date.day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static struct civil civil_from_days(int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    struct civil date = {
            0, (int)(month < 10 ? month + 3 : month - 9), (int)(day_of_year - (153 * month + 2) / 5 + 1)};
    date.year = (int)(year_of_era + era * 400 + (date.month <= 2 ? 1 : 0));
    return date;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* takes exactly `digits` digits off *text */
static bool take_number(const char **text, int digits, int *ret_value)
{
    int value = 0;
    for (int i = 0; i < digits; i++) {
        if (!isdigit((unsigned char)**text))
            return false;
        value = value * 10 + (**text - '0');
        *text += 1;
    }
    *ret_value = value;
    return true;
}

static bool take_any(const char **text, const char *characters)
{
    if (**text == 0 || strchr(characters, **text) == NULL)
        return false;
    *text += 1;
    return true;
}

static bool take_date(const char **text, struct civil *ret_date)
{
    struct civil date = {0, 0, 0};
    if (!take_number(text, 4, &date.year) || !take_any(text, "-") || !take_number(text, 2, &date.month) ||
            !take_any(text, "-") || !take_number(text, 2, &date.day))
        return false;
    if (date.month < 1 || date.month > 12 || date.day < 1 || date.day > days_in_month(date.year, date.month))
        return false;
    *ret_date = date;
    return true;
}

static bool take_clock(const char **text, int64_t *ret_seconds)
{
    int hour = 0, minute = 0, second = 0;
    if (!take_number(text, 2, &hour) || !take_any(text, ":") || !take_number(text, 2, &minute) ||
            !take_any(text, ":") || !take_number(text, 2, &second))
        return false;
    if (hour > 23 || minute > 59 || second > 60)
        return false;
    if (take_any(text, ".")) {
        if (!isdigit((unsigned char)**text))
            return false;
        while (isdigit((unsigned char)**text))
            *text += 1;
    }
    *ret_seconds = hour * 3600 + minute * 60 + (second == 60 ? 59 : second);
    return true;
}

static bool take_zone(const char **text, int64_t *ret_offset_s)
{
    *ret_offset_s = 0;
    if (take_any(text, "Zz"))
        return true;
    int sign = **text == '-' ? -1 : 1, hour = 0, minute = 0;
    if (!take_any(text, "+-") || !take_number(text, 2, &hour) || !take_any(text, ":") ||
            !take_number(text, 2, &minute))
        return false;
    if (hour > 23 || minute > 59)
        return false;
    *ret_offset_s = sign * (hour * 3600 + minute * 60);
    return true;
}

enum sl_status sl_time_parse_rfc3339(int64_t *ret_seconds, const char *text, struct sl_error *err)
{
    const char *rest = text;
    struct civil date = {0, 0, 0};
    int64_t clock = 0, offset = 0;
    if (!take_date(&rest, &date) || !take_any(&rest, "Tt ") || !take_clock(&rest, &clock) ||
            !take_zone(&rest, &offset) || *rest != 0)
        return sl_fail(err, SL_BAD_DATA,
                "\"%.40s\" is not a time; expected the form 2026-11-23T08:31:02+08:00", text);
    *ret_seconds = days_from_civil(date) * DAY_S + clock - offset;
    return SL_OK;
}

struct broken_time {
    struct civil date;
    int hour, minute, second;
};

static struct broken_time break_time(int64_t seconds)
{
    int64_t days = seconds / DAY_S, rest = seconds % DAY_S;
    if (rest < 0) {
        rest += DAY_S;
        days--;
    }
    struct broken_time broken = {
            civil_from_days(days), (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60)};
    return broken;
}

enum sl_status sl_time_format(char *text, size_t size, int64_t seconds, struct sl_error *err)
{
    if (size > 0)
        text[0] = 0;
    if (seconds < FIRST_S || seconds > LAST_S)
        return sl_fail(err, SL_BAD_DATA, "time %lld is outside the years 0000 to 9999", (long long)seconds);
    struct broken_time t = break_time(seconds);
    (void)snprintf(text, size, "%04d-%02d-%02dT%02d:%02d:%02dZ", t.date.year, t.date.month, t.date.day,
            t.hour, t.minute, t.second);
    return SL_OK;
}

void sl_time_format_us(char *text, size_t size, int64_t microseconds)
{
    int64_t seconds = microseconds / 1000000, rest = microseconds % 1000000;
    if (rest < 0) {
        rest += 1000000;
        seconds--;
    }
    if (seconds < FIRST_S || seconds > LAST_S) {
        (void)snprintf(text, size, "-");
        return;
    }
    struct broken_time t = break_time(seconds);
    (void)snprintf(text, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", t.date.year, t.date.month, t.date.day,
            t.hour, t.minute, t.second, (int)(rest / 1000));
}
