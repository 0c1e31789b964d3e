/* The logger: see log.h. A line is built on the stack and leaves in one write; the mutex guards the repeat table and the set-up. */
#include "common/log.h"

#include "common/clock.h"
#include "common/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROLE_MAX 64
#define NAME_MAX_BYTES 64 /* of module and event in the repeat table, with the 0 */
#define REPEAT_ENTRIES 64
#define REPEAT_BURST 20
#define REPEAT_WINDOW_US 10000000
#define KEY_MAX_BYTES 64
#define LINE_CLEAR "\r\033[K"

/* How often an event came in the window that began at start_us. */
struct repeat {
    char module[NAME_MAX_BYTES], event[NAME_MAX_BYTES];
    enum sl_log_level level;
    int64_t start_us;
    uint64_t written, suppressed; /* in the window */
};

static struct {
    pthread_mutex_t mutex;
    _Atomic int level;
    atomic_bool live_line;
    bool every_line;
    enum sl_log_format format;
    int fd;
    char role[ROLE_MAX];
    struct repeat repeats[REPEAT_ENTRIES];
} logger = {.mutex = PTHREAD_MUTEX_INITIALIZER, .level = SL_LOG_INFO, .fd = STDERR_FILENO};

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const level_labels[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};

/* A line under construction; what does not fit is cut. */
struct line {
    char text[SL_LOG_LINE_MAX];
    size_t size;
    bool cut;
};

static void put_bytes(struct line *line, const char *bytes, size_t size)
{
    size_t room = sizeof(line->text) - 8 - line->size; /* "..." , a quote, } and a newline always fit */
    if (size > room) {
        size = room;
        line->cut = true;
    }
    memcpy(line->text + line->size, bytes, size);
    line->size += size;
}

static void put_text(struct line *line, const char *text)
{
    put_bytes(line, text, strlen(text));
}

/* the escape of one byte, or 0 when it needs none */
static size_t escape_byte(unsigned char byte, char ret_text[8])
{
    if (byte == '"' || byte == '\\')
        return (size_t)snprintf(ret_text, 8, "\\%c", byte);
    if (byte == '\n')
        return (size_t)snprintf(ret_text, 8, "\\n");
    if (byte == '\t')
        return (size_t)snprintf(ret_text, 8, "\\t");
    if (byte < 0x20 || byte == 0x7F)
        return (size_t)snprintf(ret_text, 8, "\\u%04x", byte);
    return 0;
}

/* one character of text at `at`, escaped, into ret_text; returns how many bytes of text it was */
static size_t take_escaped(const char *text, size_t size, char ret_text[8], size_t *ret_size)
{
    size_t length = sl_utf8_next(text, size, NULL);
    if (length == 0) {
        memcpy(ret_text, "\xEF\xBF\xBD", 3); /* U+FFFD */
        *ret_size = 3;
        return 1;
    }
    *ret_size = escape_byte((unsigned char)text[0], ret_text);
    if (*ret_size == 0) {
        memcpy(ret_text, text, length);
        *ret_size = length;
    }
    return length;
}

const char *sl_log_quote(char *buffer, size_t size, const char *text)
{
    size_t used = 0, left = strlen(text);
    buffer[used++] = '"';
    while (left > 0) {
        char piece[8];
        size_t piece_size = 0;
        size_t length = take_escaped(text, left, piece, &piece_size);
        if (used + piece_size + 2 > size)
            break;
        memcpy(buffer + used, piece, piece_size);
        used += piece_size;
        text += length;
        left -= length;
    }
    buffer[used++] = '"';
    buffer[used] = 0;
    return buffer;
}

static void put_json_string(struct line *line, const char *text, size_t size)
{
    put_text(line, "\"");
    while (size > 0) {
        char piece[8];
        size_t piece_size = 0;
        size_t length = take_escaped(text, size, piece, &piece_size);
        if (sizeof(line->text) - 8 - line->size < piece_size + 1) {
            line->cut = true;
            break;
        }
        put_bytes(line, piece, piece_size);
        text += length;
        size -= length;
    }
    line->text[line->size++] = '"'; /* the reserve of put_bytes holds it */
}

/* length of "key=" at text, or 0 */
static size_t key_length(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
    return n > 0 && n < KEY_MAX_BYTES && text[n] == '=' ? n + 1 : 0;
}

/* bytes of the value at text: a whole quoted string, or everything up to the next " key=" */
static size_t value_length(const char *text)
{
    if (text[0] == '"') {
        for (size_t i = 1; text[i] != 0; i++) {
            if (text[i] == '\\' && text[i + 1] != 0)
                i++;
            else if (text[i] == '"')
                return i + 1;
        }
    }
    for (size_t i = 0; text[i] != 0; i++)
        if (text[i] == ' ' && key_length(text + i + 1) > 0)
            return i;
    return strlen(text);
}

/* RFC 8259's number */
static bool is_json_number(const char *text, size_t size)
{
    size_t i = size > 0 && text[0] == '-' ? 1 : 0, digits = i;
    while (i < size && text[i] >= '0' && text[i] <= '9')
        i++;
    if (i == digits || (text[digits] == '0' && i > digits + 1))
        return false;
    if (i < size && text[i] == '.') {
        size_t start = ++i;
        while (i < size && text[i] >= '0' && text[i] <= '9')
            i++;
        if (i == start)
            return false;
    }
    if (i < size && (text[i] == 'e' || text[i] == 'E')) {
        i++;
        if (i < size && (text[i] == '+' || text[i] == '-'))
            i++;
        size_t start = i;
        while (i < size && text[i] >= '0' && text[i] <= '9')
            i++;
        if (i == start)
            return false;
    }
    return i == size;
}

/* a value that sl_log_quote made: whole quotes and only escapes that JSON knows */
static bool is_json_string(const char *text, size_t size)
{
    if (size < 2 || text[0] != '"' || text[size - 1] != '"')
        return false;
    for (size_t i = 1; i + 1 < size; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == '"')
            return false;
        if (text[i] != '\\')
            continue;
        i++;
        if (strchr("\"\\/bfnrtu", text[i]) == NULL || i + 1 >= size)
            return false;
        if (text[i] == 'u' && (strspn(text + i + 1, "0123456789abcdefABCDEF") < 4 || i + 5 >= size))
            return false;
    }
    return true;
}

static void put_json_value(struct line *line, const char *text, size_t size)
{
    bool word = (size == 4 && memcmp(text, "true", 4) == 0) || (size == 5 && memcmp(text, "false", 5) == 0);
    bool as_is = word || is_json_number(text, size) || is_json_string(text, size);
    if (as_is && size + 8 < sizeof(line->text) - line->size - 8)
        put_bytes(line, text, size);
    else
        put_json_string(line, text, size);
}

/* the fixed members of a line must stay single */
static bool is_reserved(const char *key, size_t size)
{
    static const char *const names[] = {"time", "level", "role", "module", "event"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == size && memcmp(names[i], key, size) == 0)
            return true;
    return false;
}

static void put_json_pairs(struct line *line, const char *text)
{
    while (*text != 0) {
        while (*text == ' ')
            text++;
        if (*text == 0 || line->size > sizeof(line->text) - 128) {
            line->cut = line->cut || *text != 0;
            break;
        }
        size_t key = key_length(text);
        put_text(line, ",\"");
        if (key > 0)
            put_bytes(line, text, key - 1);
        else
            put_text(line, "text");
        put_text(line, key > 0 && is_reserved(text, key - 1) ? "_\":" : "\":");
        text += key;
        size_t size = value_length(text);
        put_json_value(line, text, size);
        text += size;
    }
}

static void put_json_member(struct line *line, const char *key, const char *value)
{
    put_text(line, line->size > 1 ? ",\"" : "\"");
    put_text(line, key);
    put_text(line, "\":");
    put_json_string(line, value, strlen(value));
}

/* control characters would let a value begin a line of its own */
static void put_plain(struct line *line, const char *text)
{
    for (; *text != 0; text++) {
        char piece[8];
        bool control = (unsigned char)*text < 0x20 || *text == 0x7F;
        size_t size = control ? escape_byte((unsigned char)*text, piece) : 1;
        put_bytes(line, control ? piece : text, size);
    }
}

static void build_json(struct line *line, const char *time, enum sl_log_level level, const char *module,
        const char *event, const char *pairs)
{
    put_text(line, "{");
    put_json_member(line, "time", time);
    put_json_member(line, "level", level_names[level]);
    if (logger.role[0] != 0)
        put_json_member(line, "role", logger.role);
    put_json_member(line, "module", module);
    put_json_member(line, "event", event);
    put_json_pairs(line, pairs);
    line->text[line->size++] = '}';
}

static void build_text(struct line *line, const char *time, enum sl_log_level level, const char *module,
        const char *event, const char *pairs)
{
    put_text(line, time);
    put_text(line, " ");
    put_text(line, level_labels[level]);
    put_text(line, " ");
    if (logger.role[0] != 0) {
        put_text(line, logger.role);
        put_text(line, " ");
    }
    put_text(line, module);
    put_text(line, " ");
    put_text(line, event);
    if (pairs[0] != 0)
        put_text(line, " ");
    put_plain(line, pairs);
    if (line->cut) {
        memcpy(line->text + line->size, "...", 3);
        line->size += 3;
    }
}

static void write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        bytes += written;
        size -= (size_t)written;
    }
}

/* needs the mutex */
static void write_line(enum sl_log_level level, const char *module, const char *event, const char *pairs)
{
    struct line line;
    line.size = 0;
    line.cut = false;
    if (logger.fd == STDERR_FILENO && atomic_load(&logger.live_line))
        write_all(logger.fd, LINE_CLEAR, strlen(LINE_CLEAR));
    char time[SL_TIME_TEXT_MAX];
    sl_time_format_us(time, sizeof(time), sl_clock_wall_us());
    if (logger.format == SL_LOG_JSON)
        build_json(&line, time, level, module, event, pairs);
    else
        build_text(&line, time, level, module, event, pairs);
    line.text[line.size++] = '\n';
    write_all(logger.fd, line.text, line.size);
}

static bool is_repeat(
        const struct repeat *entry, enum sl_log_level level, const char *module, const char *event)
{
    return entry->level == level && strncmp(entry->event, event, NAME_MAX_BYTES - 1) == 0 &&
           strncmp(entry->module, module, NAME_MAX_BYTES - 1) == 0;
}

/* the event's entry, or a free one, or the one whose window began first */
static struct repeat *find_repeat(enum sl_log_level level, const char *module, const char *event)
{
    struct repeat *oldest = &logger.repeats[0];
    for (size_t i = 0; i < REPEAT_ENTRIES; i++) {
        struct repeat *entry = &logger.repeats[i];
        if (is_repeat(entry, level, module, event))
            return entry;
        if (entry->start_us < oldest->start_us)
            oldest = entry;
    }
    return oldest;
}

static void tell_suppressed(struct repeat *entry)
{
    char pairs[64];
    (void)snprintf(pairs, sizeof(pairs), "suppressed=%llu", (unsigned long long)entry->suppressed);
    write_line(entry->level, entry->module, entry->event, pairs);
    entry->suppressed = 0;
}

/* needs the mutex; false: the line is held back */
static bool passes_repeat_limit(
        enum sl_log_level level, const char *module, const char *event, uint64_t *ret_suppressed)
{
    *ret_suppressed = 0;
    if (logger.every_line)
        return true;
    int64_t now_us = sl_clock_monotonic_us();
    struct repeat *entry = find_repeat(level, module, event);
    if (!is_repeat(entry, level, module, event)) {
        if (entry->suppressed > 0)
            tell_suppressed(entry);
        memset(entry, 0, sizeof(*entry));
        (void)snprintf(entry->module, sizeof(entry->module), "%s", module);
        (void)snprintf(entry->event, sizeof(entry->event), "%s", event);
        entry->level = level;
        entry->start_us = now_us;
    } else if (now_us - entry->start_us >= REPEAT_WINDOW_US) {
        *ret_suppressed = entry->suppressed;
        entry->suppressed = 0;
        entry->written = 0;
        entry->start_us = now_us;
    }
    if (entry->written >= REPEAT_BURST) {
        entry->suppressed++;
        return false;
    }
    entry->written++;
    return true;
}

bool sl_log_enabled(enum sl_log_level level)
{
    return (int)level >= atomic_load_explicit(&logger.level, memory_order_relaxed);
}

void sl_log(enum sl_log_level level, const char *module, const char *event, const char *format, ...)
{
    if (!sl_log_enabled(level))
        return;
    int saved = errno;
    char pairs[SL_LOG_LINE_MAX] = "";
    if (format != NULL) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(pairs, sizeof(pairs) - 40, format, args); /* 40: room for the suppressed count */
        va_end(args);
    }
    size_t used = strlen(pairs);
    (void)pthread_mutex_lock(&logger.mutex);
    uint64_t suppressed = 0;
    if (passes_repeat_limit(level, module, event, &suppressed)) {
        if (suppressed > 0)
            (void)snprintf(pairs + used, sizeof(pairs) - used, "%ssuppressed=%llu", used > 0 ? " " : "",
                    (unsigned long long)suppressed);
        write_line(level, module, event, pairs);
    }
    (void)pthread_mutex_unlock(&logger.mutex);
    errno = saved;
}

void sl_log_live_line(bool live)
{
    atomic_store(&logger.live_line, live);
}

/* needs the mutex */
static void close_current(void)
{
    for (size_t i = 0; i < REPEAT_ENTRIES; i++)
        if (logger.repeats[i].suppressed > 0)
            tell_suppressed(&logger.repeats[i]);
    memset(logger.repeats, 0, sizeof(logger.repeats));
    if (logger.fd != STDERR_FILENO)
        (void)close(logger.fd);
    logger.fd = STDERR_FILENO;
    logger.format = SL_LOG_TEXT;
    logger.role[0] = 0;
    logger.every_line = false;
    atomic_store(&logger.level, SL_LOG_INFO);
}

enum sl_status sl_log_open(const struct sl_log_options *options, struct sl_error *err)
{
    int fd = STDERR_FILENO;
    if (options->path != NULL) {
        fd = open(options->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd < 0)
            return sl_fail_errno(err, "cannot open log file %s", options->path);
    }
    (void)pthread_mutex_lock(&logger.mutex);
    close_current();
    logger.fd = fd;
    logger.format = options->format;
    logger.every_line = options->every_line;
    if (options->role != NULL)
        (void)snprintf(logger.role, sizeof(logger.role), "%s", options->role);
    atomic_store(&logger.level, (int)options->level);
    (void)pthread_mutex_unlock(&logger.mutex);
    return SL_OK;
}

void sl_log_close(void)
{
    (void)pthread_mutex_lock(&logger.mutex);
    close_current();
    (void)pthread_mutex_unlock(&logger.mutex);
}

enum sl_status sl_log_level_parse(enum sl_log_level *ret_level, const char *text, struct sl_error *err)
{
    for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret_level = (enum sl_log_level)i;
            return SL_OK;
        }
    }
    return sl_fail(
            err, SL_USAGE, "log level \"%.32s\" is not known; choose debug, info, warn or error", text);
}
