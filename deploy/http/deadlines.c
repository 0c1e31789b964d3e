/* Connections that must say something soon: see deadlines.h. */
#include "deploy/http/deadlines.h"

#include "common/memory.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>

struct entry {
    bool used, waiting;
    int fd;
    int64_t since_us;
};

struct dp_deadlines {
    pthread_mutex_t lock;
    int64_t request_us;
    int count;
    struct entry entries[]; /* (count,) */
};

enum sl_status dp_deadlines_create(
        struct dp_deadlines **ret_table, int connections, int64_t request_us, struct sl_error *err)
{
    struct dp_deadlines *table =
            sl_alloc(1, sizeof(*table) + (size_t)connections * sizeof(table->entries[0]));
    if (table == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the connections");
    table->count = connections;
    table->request_us = request_us;
    (void)pthread_mutex_init(&table->lock, NULL);
    *ret_table = table;
    return SL_OK;
}

void dp_deadlines_destroy(struct dp_deadlines *table)
{
    if (table != NULL)
        (void)pthread_mutex_destroy(&table->lock);
    sl_free(table);
}

int dp_deadlines_open(struct dp_deadlines *table, int fd, int64_t now_us)
{
    int slot = -1;
    (void)pthread_mutex_lock(&table->lock);
    for (int i = 0; i < table->count && slot < 0; i++)
        if (!table->entries[i].used)
            slot = i;
    if (slot >= 0)
        table->entries[slot] = (struct entry){.used = true, .waiting = true, .fd = fd, .since_us = now_us};
    (void)pthread_mutex_unlock(&table->lock);
    return slot;
}

static void set_waiting(struct dp_deadlines *table, int slot, bool waiting, int64_t now_us)
{
    if (slot < 0)
        return;
    (void)pthread_mutex_lock(&table->lock);
    table->entries[slot].waiting = waiting;
    table->entries[slot].since_us = now_us;
    (void)pthread_mutex_unlock(&table->lock);
}

void dp_deadlines_waiting(struct dp_deadlines *table, int slot, int64_t now_us)
{
    set_waiting(table, slot, true, now_us);
}

void dp_deadlines_answering(struct dp_deadlines *table, int slot)
{
    set_waiting(table, slot, false, 0);
}

void dp_deadlines_close(struct dp_deadlines *table, int slot)
{
    if (slot < 0)
        return;
    (void)pthread_mutex_lock(&table->lock);
    table->entries[slot] = (struct entry){0};
    (void)pthread_mutex_unlock(&table->lock);
}

int dp_deadlines_expire(struct dp_deadlines *table, int64_t now_us)
{
    int late = 0;
    (void)pthread_mutex_lock(&table->lock);
    for (int i = 0; i < table->count; i++) {
        struct entry *entry = &table->entries[i];
        if (!entry->used || !entry->waiting || now_us - entry->since_us < table->request_us)
            continue;
        (void)shutdown(entry->fd, SHUT_RDWR);
        entry->waiting = false; /* once is enough */
        late++;
    }
    (void)pthread_mutex_unlock(&table->lock);
    return late;
}
