#pragma once
/* Figures and texts of a run as people read them. Texts came over the network: nothing that goes to a terminal passes by dp_clean. */
#include "common/status_client.h"

#include <stddef.h>

#define DP_WORD_MAX 32 /* bytes of a figure with its 0 */

/* dp_clean copies text without control characters and broken UTF-8 (each becomes '?'), cut to fit, and returns buffer; NULL is "". */
const char *dp_clean(char *buffer, size_t size, const char *text);

/* These write at most DP_WORD_MAX bytes and return text. */
const char *dp_bytes(char *text, uint64_t bytes); /* 812 B, 1.23 MB */
const char *dp_count(char *text, uint64_t count); /* 68,978 */
const char *dp_span(char *text, double seconds);  /* 15 ms, 1.5 s, 12 s, 12:31, 3 d 04 h */
const char *dp_brief(char *text, double value);   /* 0.02, 123, 2e-05: where there is little room */
const char *dp_figure(char *text, double value);  /* 0.0189, 123.4, 1.2e-05, - when it is not finite */

/* The value of a list, NaN beyond its end. */
double dp_at(const double *values, size_t count, size_t index);
/* The name of a branch, "?" beyond the end. */
const char *dp_branch(const Shelflife__Status__Run *run, size_t index);

/* One line about all of it: "training  step 357 of 450 (79 %)  epoch 119 of 150  12 s left  403.6 samples/s". */
void dp_headline(char *text, size_t size, const Shelflife__Status__Status *status);

/* Lines of tables, and their headings. now: Unix seconds. */
#define DP_WORKER_HEADING                                                                                    \
    "rank process            doing       slots samples/s stale  wait  heard   memory     sent received"
#define DP_SERVER_HEADING                                                                                    \
    "rank process            version blocks parameters queue  update  heard   memory     sent received"
void dp_worker_line(char *text, size_t size, const Shelflife__Status__Worker *worker, double now);
void dp_server_line(char *text, size_t size, const Shelflife__Status__Server *server, double now);
void dp_event_line(char *text, size_t size, const Shelflife__Status__Event *event);
