/* Waiting for blocks of parameters: see arrivals.h. */
#include "worker/arrivals.h"

#include "common/clock.h"
#include "common/memory.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

struct wk_arrivals {
    const struct sl_layout *layout;
    _Atomic int missing; /* blocks; written under the lock */
    pthread_mutex_t lock;
    pthread_cond_t news;
    unsigned char *here; /* (block_count,) */
    bool given_up;
};

enum sl_status wk_arrivals_create(
        struct wk_arrivals **ret_arrivals, const struct sl_layout *layout, struct sl_error *err)
{
    struct wk_arrivals *a = sl_alloc(1, sizeof(*a));
    unsigned char *here = sl_alloc((size_t)layout->block_count, 1);
    if (a == NULL || here == NULL) {
        sl_free(a);
        sl_free(here);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for waiting for parameters");
    }
    a->layout = layout;
    a->here = here;
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->news, NULL);
    *ret_arrivals = a;
    return SL_OK;
}

void wk_arrivals_destroy(struct wk_arrivals *a)
{
    if (a == NULL)
        return;
    sl_free(a->here);
    (void)pthread_cond_destroy(&a->news);
    (void)pthread_mutex_destroy(&a->lock);
    sl_free(a);
}

void wk_arrivals_begin(struct wk_arrivals *a, const unsigned char *here)
{
    int missing = 0;
    (void)pthread_mutex_lock(&a->lock);
    for (int b = 0; b < a->layout->block_count; b++) {
        a->here[b] = here == NULL || here[b] != 0;
        missing += !a->here[b];
    }
    atomic_store(&a->missing, missing);
    a->given_up = false;
    (void)pthread_mutex_unlock(&a->lock);
}

void wk_arrivals_add(struct wk_arrivals *a, int block)
{
    (void)pthread_mutex_lock(&a->lock);
    assert(a->missing > 0 && !a->here[block]);
    a->here[block] = 1;
    atomic_fetch_sub(&a->missing, 1);
    (void)pthread_cond_broadcast(&a->news);
    (void)pthread_mutex_unlock(&a->lock);
}

void wk_arrivals_give_up(struct wk_arrivals *a)
{
    (void)pthread_mutex_lock(&a->lock);
    a->given_up = true;
    (void)pthread_cond_broadcast(&a->news);
    (void)pthread_mutex_unlock(&a->lock);
}

/* Called with the lock held. */
static bool are_here(const struct wk_arrivals *a, size_t begin, size_t end)
{
    for (int b = 0; b < a->layout->block_count; b++) {
        const struct sl_block *block = &a->layout->blocks[b];
        if (!a->here[b] && block->offset < end && block->offset + block->count > begin)
            return false;
    }
    return true;
}

uint64_t wk_arrivals_wait(struct wk_arrivals *a, size_t begin, size_t end)
{
    if (wk_arrivals_whole(a))
        return 0;
    int64_t start_us = sl_clock_monotonic_us();
    (void)pthread_mutex_lock(&a->lock);
    while (!a->given_up && !are_here(a, begin, end))
        (void)pthread_cond_wait(&a->news, &a->lock);
    (void)pthread_mutex_unlock(&a->lock);
    return (uint64_t)(sl_clock_monotonic_us() - start_us);
}

bool wk_arrivals_whole(const struct wk_arrivals *a)
{
    return atomic_load(&a->missing) == 0;
}
