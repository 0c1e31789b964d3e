#pragma once
/* The sub-benchmarks of `shelflife bench`. Each prints its figures beside the machine's limit, measured in the same rounds. */
#include "deploy/bench/measure.h"
#include "deploy/bench/report.h"
#include "deploy/bench/subject.h"

struct dp_bench {
    struct dp_subject *subject;
    struct dp_measure measure;
    struct dp_report report;
    bool shapes; /* compute lists the products that take most time */
};

/* dp_bench_compute: forward and backward of one slot on one thread against sgemm; how much of it is sgemm and how fast that runs. */
SL_MUST_USE enum sl_status dp_bench_compute(struct dp_bench *bench, struct sl_error *err);
/* dp_bench_step: whole steps in one process without sockets, on one thread and on all cores. */
SL_MUST_USE enum sl_status dp_bench_step(struct dp_bench *bench, struct sl_error *err);
/* dp_bench_server: reducing two workers' gradients and updating, against a stream through memory. */
SL_MUST_USE enum sl_status dp_bench_server(struct dp_bench *bench, struct sl_error *err);
/* dp_bench_transport: blocks to a server and back over tcp, ipc and inproc, against a raw ZeroMQ stream and memcpy. */
SL_MUST_USE enum sl_status dp_bench_transport(struct dp_bench *bench, struct sl_error *err);
/* dp_bench_loader: samples from a dataset into a batch, against what a step needs. */
SL_MUST_USE enum sl_status dp_bench_loader(struct dp_bench *bench, struct sl_error *err);
/* dp_bench_snapshot: what one costs training and its writing, against a copy in memory and a plain write. */
SL_MUST_USE enum sl_status dp_bench_snapshot(struct dp_bench *bench, struct sl_error *err);

/* dp_bench_serve: requests to the scoring service at several numbers of clients, one by one and in batches, against forward passes alone. */
SL_MUST_USE enum sl_status dp_bench_serve(struct dp_bench *bench, struct sl_error *err);

/* dp_bench_row prints a row of the subject; limit_of NULL = none. */
void dp_bench_row(struct dp_bench *bench, const char *benchmark, const char *figure, double value,
        const char *unit, double limit, const char *limit_of);

/* One slot's forward and backward on one thread: what a step costs, for the benchmarks that compare with it. */
struct dp_slot {
    const struct dp_subject *subject;
    struct wk_batch *batch;
    struct wk_workspace *workspace;
    float *gradients; /* (sl_layout_gradient_floats,) */
    uint64_t step;
};

SL_MUST_USE enum sl_status dp_slot_init(
        struct dp_slot *slot, struct dp_subject *subject, struct sl_error *err);
void dp_slot_fini(struct dp_slot *slot);
dp_work dp_slot_forward_work; /* context: struct dp_slot */
dp_work dp_slot_work;         /* forward and backward, as the config's exchange has them */
dp_work dp_slot_early_work;   /* forward, and one backward for all branches */
