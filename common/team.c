/* Threads that work together: see team.h. A run is opened and closed under the lock; parts are claimed without it. */
#include "common/team.h"

#include "common/memory.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct member {
    struct sl_team *team;
    pthread_t handle;
    int index;
    bool started;
};

struct sl_team {
    int threads;
    struct member *members; /* (threads,), the first is the caller's and has no handle */
    pthread_mutex_t lock;
    pthread_cond_t opened, left;
    /* under the lock */
    uint64_t run; /* number of the run that is open or was last */
    bool open, leaving;
    int inside; /* members at work on it, the caller not counted */
    sl_team_work *work;
    void *context;
    int count;
    _Atomic int next; /* part to claim; set while nobody is inside */
};

static void work_off(struct sl_team *team, int member)
{
    sl_team_work *work = team->work;
    void *context = team->context;
    int count = team->count, part = 0;
    while ((part = atomic_fetch_add_explicit(&team->next, 1, memory_order_relaxed)) < count)
        work(context, part, member);
}

/* A run that closed before this thread woke is missed, which does no harm: its parts are done. */
static void *member_main(void *argument)
{
    struct member *member = argument;
    struct sl_team *team = member->team;
    uint64_t seen = 0;
    (void)pthread_mutex_lock(&team->lock);
    for (;;) {
        while (!team->leaving && (!team->open || team->run == seen))
            (void)pthread_cond_wait(&team->opened, &team->lock);
        if (team->leaving)
            break;
        seen = team->run;
        team->inside++;
        (void)pthread_mutex_unlock(&team->lock);
        work_off(team, member->index);
        (void)pthread_mutex_lock(&team->lock);
        if (--team->inside == 0)
            (void)pthread_cond_signal(&team->left);
    }
    (void)pthread_mutex_unlock(&team->lock);
    return NULL;
}

void sl_team_run(struct sl_team *team, int count, sl_team_work *work, void *context)
{
    if (team == NULL || team->threads == 1 || count <= 1) {
        for (int part = 0; part < count; part++)
            work(context, part, 0);
        return;
    }
    (void)pthread_mutex_lock(&team->lock);
    assert(!team->open && team->inside == 0 && count < INT32_MAX - SL_TEAM_MAX);
    team->work = work;
    team->context = context;
    team->count = count;
    atomic_store_explicit(&team->next, 0, memory_order_relaxed);
    team->open = true;
    team->run++;
    (void)pthread_cond_broadcast(&team->opened);
    (void)pthread_mutex_unlock(&team->lock);
    work_off(team, 0);
    (void)pthread_mutex_lock(&team->lock);
    team->open = false; /* all parts are claimed: who comes now has nothing to do */
    while (team->inside > 0)
        (void)pthread_cond_wait(&team->left, &team->lock);
    (void)pthread_mutex_unlock(&team->lock);
}

int sl_team_threads(const struct sl_team *team)
{
    return team == NULL ? 1 : team->threads;
}

enum sl_status sl_team_create(struct sl_team **ret_team, int threads, struct sl_error *err)
{
    assert(threads >= 1 && threads <= SL_TEAM_MAX);
    struct sl_team *team = sl_alloc(1, sizeof(*team));
    struct member *members = sl_alloc((size_t)threads, sizeof(*members));
    if (team == NULL || members == NULL) {
        sl_free(team);
        sl_free(members);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %d threads", threads);
    }
    team->threads = threads;
    team->members = members;
    (void)pthread_mutex_init(&team->lock, NULL);
    (void)pthread_cond_init(&team->opened, NULL);
    (void)pthread_cond_init(&team->left, NULL);
    for (int i = 1; i < threads; i++) {
        members[i].team = team;
        members[i].index = i;
        int failed = pthread_create(&members[i].handle, NULL, member_main, &members[i]);
        if (failed != 0) {
            sl_team_destroy(team);
            return sl_fail(err, SL_FAILED, "cannot start a thread: %s", strerror(failed));
        }
        members[i].started = true;
    }
    *ret_team = team;
    return SL_OK;
}

void sl_team_destroy(struct sl_team *team)
{
    if (team == NULL)
        return;
    (void)pthread_mutex_lock(&team->lock);
    team->leaving = true;
    (void)pthread_cond_broadcast(&team->opened);
    (void)pthread_mutex_unlock(&team->lock);
    for (int i = 1; i < team->threads; i++)
        if (team->members[i].started)
            (void)pthread_join(team->members[i].handle, NULL);
    (void)pthread_cond_destroy(&team->opened);
    (void)pthread_cond_destroy(&team->left);
    (void)pthread_mutex_destroy(&team->lock);
    sl_free(team->members);
    sl_free(team);
}
