/* `bench loader`: how quickly samples of a dataset become a batch, against how quickly a step uses them up. */
#include "common/memory.h"
#include "deploy/bench/bench.h"
#include "deploy/bench/limits.h"
#include "worker/dataset/sampler.h"

#define NAME "loader"
#define GIGA 1e-9

struct loader {
    const struct dp_subject *subject;
    struct wk_dataset *dataset;
    struct wk_sampler *order;
    struct wk_batch *batch;
    uint64_t *indices; /* (slot_size,) */
    int64_t step, steps;
    struct dp_slot slot;
    struct dp_stream_limit copy;
};

enum { ITEM_LOAD, ITEM_SLOT, ITEM_COPY, ITEMS };

/* Reads one slot's samples in the order of training, verifies, unpacks and normalises them. */
static enum sl_status load_work(struct dp_item *item, struct sl_error *err)
{
    struct loader *l = item->context;
    int count = 0;
    wk_sampler_slot(l->order, l->step, 0, l->indices, &count);
    l->step = (l->step + 1) % l->steps;
    wk_batch_clear(l->batch);
    for (int i = 0; i < count; i++) {
        struct wk_sample sample = {0};
        enum sl_status status = wk_dataset_read(l->dataset, l->indices[i], &sample, err);
        if (status == SL_OK)
            status = wk_batch_add(l->batch, l->subject->config, &sample, err);
        wk_sample_fini(&sample);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

static enum sl_status prepare(struct loader *l, struct dp_subject *subject, struct sl_error *err)
{
    const struct sl_config *config = subject->config;
    int capacity = config->batch.slot_size;
    l->subject = subject;
    l->indices = sl_alloc((size_t)capacity, sizeof(*l->indices));
    if (l->indices == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = dp_subject_dataset(subject, &l->dataset, err);
    if (status == SL_OK)
        status = wk_batch_create(&l->batch, config, capacity, err);
    if (status == SL_OK)
        status = dp_slot_init(&l->slot, subject, err);
    if (status != SL_OK)
        return status;
    uint64_t count = wk_dataset_count(l->dataset);
    l->steps = (int64_t)(count / (uint64_t)capacity); /* whole slots of one epoch */
    if (l->steps == 0)
        return sl_fail(err, SL_BAD_DATA,
                "the dataset has %llu samples and a slot takes %d; make batch.slot_size smaller",
                (unsigned long long)count, capacity);
    struct sl_plan_options plan = {.count = count, .slots = 1, .slot_size = capacity, .seed = config->seed};
    status = wk_sampler_create(&l->order, &plan, true, err);
    int64_t bytes = wk_dataset_index(l->dataset)->size / (int64_t)count * capacity;
    return status == SL_OK ? dp_stream_limit_init(&l->copy, 2 * (size_t)bytes, err) : status;
}

static void report(struct dp_bench *bench, const struct loader *l, const struct dp_item items[ITEMS])
{
    double samples = l->subject->config->batch.slot_size;
    double need = samples / dp_item_seconds(&items[ITEM_SLOT]),
           ready = samples / dp_item_seconds(&items[ITEM_LOAD]);
    double bytes = dp_stream_copy_bytes(&l->copy); /* of the records of a slot, about */
    dp_bench_row(bench, NAME, "samples ready, 1 thread", ready, "/s", need, "a step's need, 1 thread");
    dp_bench_row(bench, NAME, "share of a thread's time", 100.0 * need / (need + ready), "%", 0.0, NULL);
    dp_bench_row(bench, NAME, "records read", bytes / dp_item_seconds(&items[ITEM_LOAD]) * GIGA, "GB/s",
            bytes / dp_item_seconds(&items[ITEM_COPY]) * GIGA, "memcpy");
}

enum sl_status dp_bench_loader(struct dp_bench *bench, struct sl_error *err)
{
    struct loader l = {.subject = NULL};
    enum sl_status status = prepare(&l, bench->subject, err);
    struct dp_item items[ITEMS] = {[ITEM_LOAD] = {.work = load_work, .context = &l},
            [ITEM_SLOT] = {.work = dp_slot_work, .context = &l.slot},
            [ITEM_COPY] = {.work = dp_stream_copy_work, .context = &l.copy}};
    if (status == SL_OK)
        status = dp_measure(&bench->measure, items, ITEMS, err);
    if (status == SL_OK)
        report(bench, &l, items);
    wk_sampler_destroy(l.order);
    wk_batch_destroy(l.batch);
    dp_slot_fini(&l.slot);
    dp_stream_limit_fini(&l.copy);
    sl_free(l.indices);
    return status;
}
