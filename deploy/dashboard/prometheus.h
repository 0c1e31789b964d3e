#pragma once
/* Runs as Prometheus reads them: the text format 0.0.4, one family after the other, a sample for each run.
 *
 *     struct dp_scraped runs[] = {{.name = "a", .up = true, .status = status}};
 *     dp_prometheus_write(&text, runs, 1);       // shelflife_train_steps_total{run="a"} 120 …
 *
 * A run that is not heard has shelflife_run_up 0 and nothing else: old values would look like new ones. docs/dashboard.md lists the names.
 */
#include "common/text.h"
#include "proto/status.pb-c.h"

#include <stdbool.h>

struct dp_scraped {
    const char *name; /* any bytes */
    bool up;
    const Shelflife__Status__Status *status; /* NULL when none has come */
};

void dp_prometheus_write(struct sl_text *text, const struct dp_scraped *runs, int count);
