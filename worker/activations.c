/* Activations between forward and backward: see activations.h. */
#include "worker/activations.h"

#include "common/memory.h"

#include <pthread.h>

struct entry {
    struct wk_activations activations;
    struct wk_activations_key key;
    bool full; /* waits under its key; else free to use */
};

struct wk_kept {
    const struct wk_model *model;
    const struct sl_config *config;
    int threads; /* of a team */
    size_t size_max;
    pthread_mutex_t lock;
    struct entry *entries; /* (count,) all but those that were taken */
    int count, capacity;
    int made; /* workspaces made here, which are in entries, taken, or were given in exchange */
};

enum sl_status wk_activations_init(struct wk_activations *activations, const struct wk_model *model,
        const struct sl_config *config, int threads, struct sl_error *err)
{
    int capacity = config->batch.slot_size;
    *activations = (struct wk_activations){0};
    enum sl_status status =
            wk_workspace_create_for(&activations->workspace, model, capacity, true, threads, err);
    return status == SL_OK ? wk_batch_create(&activations->batch, config, capacity, err) : status;
}

void wk_activations_fini(struct wk_activations *activations)
{
    wk_workspace_destroy(activations->workspace);
    wk_batch_destroy(activations->batch);
    *activations = (struct wk_activations){0};
}

enum sl_status wk_kept_create(struct wk_kept **ret_kept, const struct wk_model *model,
        const struct sl_config *config, int threads, size_t size_max, struct sl_error *err)
{
    struct wk_kept *kept = sl_alloc(1, sizeof(*kept));
    if (kept == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for activations");
    kept->model = model;
    kept->config = config;
    kept->threads = threads;
    kept->size_max = size_max;
    kept->capacity = config->batch.slots; /* one step's, and no more */
    kept->entries = sl_alloc((size_t)kept->capacity, sizeof(*kept->entries));
    if (kept->entries == NULL) {
        sl_free(kept);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for activations");
    }
    (void)pthread_mutex_init(&kept->lock, NULL);
    *ret_kept = kept;
    return SL_OK;
}

void wk_kept_destroy(struct wk_kept *kept)
{
    if (kept == NULL)
        return;
    for (int i = 0; i < kept->count; i++)
        wk_activations_fini(&kept->entries[i].activations);
    sl_free(kept->entries);
    (void)pthread_mutex_destroy(&kept->lock);
    sl_free(kept);
}

static bool same_pass(const struct wk_activations_key *a, const struct wk_activations_key *b)
{
    return a->parameters == b->parameters && a->step == b->step;
}

/* An entry that may be used: one that is free, or waits for a pass that is over. Called with the lock held. */
static struct entry *find_free(struct wk_kept *kept, const struct wk_activations_key *now)
{
    for (int i = 0; i < kept->count; i++)
        if (!kept->entries[i].full || !same_pass(&kept->entries[i].key, now))
            return &kept->entries[i];
    return NULL;
}

/* Room for one more of the size of `like`, or not. Called with the lock held. */
static bool reserve(struct wk_kept *kept, const struct wk_activations *like)
{
    size_t each = wk_workspace_size(like->workspace) + wk_batch_size(like->batch);
    if (kept->made >= kept->capacity || (size_t)(kept->made + 1) > kept->size_max / each)
        return false;
    kept->made++;
    return true;
}

void wk_kept_put(struct wk_kept *kept, struct wk_activations_key key, struct wk_activations *activations)
{
    struct wk_activations other = {0};
    (void)pthread_mutex_lock(&kept->lock);
    struct entry *entry = find_free(kept, &key);
    if (entry != NULL) {
        other = entry->activations;
        *entry = (struct entry){*activations, key, true};
    }
    bool more = entry == NULL && reserve(kept, activations);
    (void)pthread_mutex_unlock(&kept->lock);
    if (entry != NULL)
        *activations = other;
    if (!more)
        return;
    struct sl_error ignored = {0};
    bool made = wk_activations_init(&other, kept->model, kept->config, kept->threads, &ignored) == SL_OK;
    if (!made)
        wk_activations_fini(&other);
    (void)pthread_mutex_lock(&kept->lock);
    if (made)
        kept->entries[kept->count++] = (struct entry){*activations, key, true};
    else
        kept->made--;
    (void)pthread_mutex_unlock(&kept->lock);
    if (made)
        *activations = other;
}

bool wk_kept_take(struct wk_kept *kept, struct wk_activations_key key, struct wk_activations *ret_activations)
{
    bool found = false;
    (void)pthread_mutex_lock(&kept->lock);
    for (int i = 0; i < kept->count && !found; i++) {
        struct entry *entry = &kept->entries[i];
        found = entry->full && same_pass(&entry->key, &key) && entry->key.slot == key.slot;
        if (found) {
            *ret_activations = entry->activations;
            *entry = kept->entries[--kept->count];
        }
    }
    (void)pthread_mutex_unlock(&kept->lock);
    return found;
}

void wk_kept_return(struct wk_kept *kept, struct wk_activations *activations)
{
    (void)pthread_mutex_lock(&kept->lock);
    kept->entries[kept->count++] = (struct entry){.activations = *activations};
    (void)pthread_mutex_unlock(&kept->lock);
    *activations = (struct wk_activations){0};
}
