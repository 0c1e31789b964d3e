#pragma once
/* What a benchmark says: one row for each figure, as a table for people or as one JSON object a line.
 *
 *     dp_report_row(report, &(struct dp_row){.benchmark = "server", .subject = "small", .figure = "update",
 *             .value = 21.5, .unit = "GB/s", .limit = 26.0, .limit_of = "stream of sums"});
 *
 * A row goes out as soon as it is known. ratio is value / limit and is written where there is a limit.
 */
#include <stdbool.h>
#include <stdio.h>

struct dp_row {
    const char *benchmark, *subject, *figure;
    double value;
    const char *unit;
    double limit;         /* in the same unit; 0 = none */
    const char *limit_of; /* what was measured for it */
};

struct dp_report {
    FILE *stream;
    bool json;
    bool begun; /* the table's head is out */
};

void dp_report_row(struct dp_report *report, const struct dp_row *row);

/* dp_report_machine says what the figures were measured on: cores, instruction set, BLAS kernels, load. */
void dp_report_machine(struct dp_report *report);
