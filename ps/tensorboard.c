/* Event files: see tensorboard.h. A record is its length, a checksum of the length, the event, a checksum of the event. */
#include "ps/tensorboard.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/memory.h"
#include "proto/tensorboard.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TAG_MAX (SL_NAME_MAX + 32)
#define VALUES_MAX (8 * SL_BRANCHES_MAX + 8)
#define FRAME_SIZE 16 /* bytes around an event: 8 + 4 before it, 4 behind it */
#define SESSION_START 1

typedef Shelflife__Tensorboard__Event Event;
typedef Shelflife__Tensorboard__Value Value;

struct ps_tensorboard {
    const struct sl_config *config;
    char *path;
    int fd;
    /* the event being built */
    char tags[VALUES_MAX][TAG_MAX];
    Value values[VALUES_MAX], *pointers[VALUES_MAX];
    size_t count;
};

uint32_t ps_crc32c(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    uint32_t crc = 0xffffffffU;
    for (size_t i = 0; i < size; i++) { /* a step is a kilobyte: a table would not be felt */
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0x82f63b78U & (0U - (crc & 1U)));
    }
    return ~crc;
}

/* TensorBoard's checksums are turned and shifted, so that a checksum of data that holds checksums is none that is easily met. */
static uint32_t masked(const void *bytes, size_t size)
{
    uint32_t crc = ps_crc32c(bytes, size);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

static void put_number(unsigned char *at, uint64_t value, int size)
{
    for (int i = 0; i < size; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

static enum sl_status write_event(struct ps_tensorboard *t, const Event *event, struct sl_error *err)
{
    size_t size = shelflife__tensorboard__event__get_packed_size(event);
    SL_AUTO_FREE unsigned char *record = sl_alloc(size + FRAME_SIZE, 1);
    if (record == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for an event of TensorBoard");
    put_number(record, size, 8);
    put_number(record + 8, masked(record, 8), 4);
    (void)shelflife__tensorboard__event__pack(event, record + 12);
    put_number(record + 12 + size, masked(record + 12, size), 4);
    return sl_file_write_all(t->fd, record, size + FRAME_SIZE, t->path, err);
}

static Event begin_event(int64_t step)
{
    Event event = SHELFLIFE__TENSORBOARD__EVENT__INIT;
    event.has_wall_time = event.has_step = 1;
    event.wall_time = (double)sl_clock_wall_us() * 1e-6;
    event.step = step;
    return event;
}

/* ---- open and close ---- */

static enum sl_status write_start(struct ps_tensorboard *t, int64_t step, struct sl_error *err)
{
    Event event = begin_event(0);
    event.file_version = "brain.Event:2";
    enum sl_status status = write_event(t, &event, err);
    if (status != SL_OK || step == 0)
        return status;
    Shelflife__Tensorboard__SessionLog session = SHELFLIFE__TENSORBOARD__SESSION_LOG__INIT;
    session.has_status = 1;
    session.status = SESSION_START;
    event = begin_event(step + 1);
    event.session_log = &session;
    return write_event(t, &event, err);
}

static enum sl_status open_file(struct ps_tensorboard *t, struct sl_error *err)
{
    char host[256] = "", name[512];
    SL_AUTO_FREE char *folder = sl_path_join(t->config->snapshots.dir, "tensorboard");
    if (folder == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    enum sl_status status = sl_file_make_directories(folder, err);
    if (status != SL_OK)
        return status;
    (void)gethostname(host, sizeof(host) - 1);
    for (int again = 0; again < 1000; again++) { /* the same process may begin two files in a second */
        (void)snprintf(name, sizeof(name), "events.out.tfevents.%010lld.%s.%d.%d",
                (long long)(sl_clock_wall_us() / 1000000), host, (int)getpid(), again);
        sl_free(t->path);
        t->path = sl_path_join(folder, name);
        if (t->path == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
        t->fd = open(t->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
        if (t->fd >= 0)
            return SL_OK;
        if (errno != EEXIST)
            break;
    }
    return sl_fail_errno(err, "cannot make %s", t->path);
}

enum sl_status ps_tensorboard_open(struct ps_tensorboard **ret_tensorboard, const struct sl_config *config,
        int64_t step, struct sl_error *err)
{
    if (!config->snapshots.tensorboard) {
        *ret_tensorboard = NULL;
        return SL_OK;
    }
    struct ps_tensorboard *t = sl_alloc(1, sizeof(*t));
    if (t == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the events of TensorBoard");
    t->config = config;
    t->fd = -1;
    enum sl_status status = open_file(t, err);
    if (status == SL_OK)
        status = write_start(t, step, err);
    if (status != SL_OK) {
        ps_tensorboard_close(t);
        return status;
    }
    *ret_tensorboard = t;
    return SL_OK;
}

void ps_tensorboard_close(struct ps_tensorboard *t)
{
    if (t == NULL)
        return;
    if (t->fd >= 0)
        (void)close(t->fd);
    sl_free(t->path);
    sl_free(t);
}

/* ---- values ---- */

static void add(struct ps_tensorboard *t, const char *group, const char *name, double value)
{
    if (!isfinite(value) || t->count == VALUES_MAX)
        return;
    Value *v = &t->values[t->count];
    shelflife__tensorboard__value__init(v);
    (void)snprintf(t->tags[t->count], TAG_MAX, "%s/%s", group, name);
    v->tag = t->tags[t->count];
    v->has_simple_value = 1;
    v->simple_value = (float)value;
    t->pointers[t->count++] = v;
}

static void add_list(struct ps_tensorboard *t, const char *group, const double *values, int count)
{
    for (int i = 0; i < count; i++)
        add(t, group, sl_config_branch_name(t->config, i), values[i]);
}

static enum sl_status write_values(struct ps_tensorboard *t, int64_t step, struct sl_error *err)
{
    Shelflife__Tensorboard__Summary summary = SHELFLIFE__TENSORBOARD__SUMMARY__INIT;
    Event event = begin_event(step);
    summary.n_value = t->count;
    summary.value = t->pointers;
    event.summary = &summary;
    return write_event(t, &event, err);
}

enum sl_status ps_tensorboard_step(
        struct ps_tensorboard *t, const struct ps_step_record *r, struct sl_error *err)
{
    if (t == NULL)
        return SL_OK;
    int modalities = t->config->modality_count;
    t->count = 0;
    add_list(t, "loss", r->loss, modalities + 1);
    add_list(t, "accuracy", r->accuracy, modalities + 1);
    add_list(t, "score", r->score, modalities);
    add_list(t, "ratio", r->ratio, modalities);
    add_list(t, "coefficient", r->coefficient, modalities);
    add_list(t, "cosine", r->cosine, modalities);
    add_list(t, "update_norm", r->update_norm, modalities + 1);
    add_list(t, "parameter_norm", r->parameter_norm, modalities + 1);
    add(t, "train", "gradient_norm", r->norm);
    add(t, "train", "clip", r->clip);
    add(t, "train", "learning_rate", r->rate);
    if (r->seconds > 0.0)
        add(t, "train", "samples_per_second", (double)r->samples / r->seconds);
    return write_values(t, r->step, err);
}

enum sl_status ps_tensorboard_validation(
        struct ps_tensorboard *t, int64_t step, const struct sl_evaluation *evaluation, struct sl_error *err)
{
    if (t == NULL)
        return SL_OK;
    t->count = 0;
    for (int b = 0; b < sl_evaluation_branches(evaluation); b++) {
        const char *name = sl_config_branch_name(t->config, b);
        add(t, "validation_loss", name, sl_evaluation_metric(evaluation, b, SL_METRIC_LOSS));
        add(t, "validation_accuracy", name, sl_evaluation_metric(evaluation, b, SL_METRIC_ACCURACY));
        add(t, "validation_macro_f1", name, sl_evaluation_metric(evaluation, b, SL_METRIC_MACRO_F1));
    }
    return write_values(t, step, err);
}
