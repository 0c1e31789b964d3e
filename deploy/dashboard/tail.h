#pragma once
/* Follows a file that grows by lines, metrics.jsonl: each whole line is given once. A file that is shorter than before or another one of the same name
 * is read from its start again, after saying so. Bounded work per call, bounded length of a line.
 *
 *     dp_tail_init(&tail);
 *     bool more = dp_tail_read(&tail, path, &sink);       // call again when true
 *     dp_tail_fini(&tail);
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DP_TAIL_LINE_MAX ((size_t)1 << 20)  /* bytes; a longer line is skipped */
#define DP_TAIL_CHUNK_MAX ((size_t)1 << 20) /* bytes read per call */

struct dp_tail_sink {
    void *context;
    void (*line)(void *context, const char *line, size_t size);
    void (*restart)(void *context); /* what came before does not count any more */
};

/* Fields are its own. */
struct dp_tail {
    int64_t offset; /* of the first byte not read yet */
    uint64_t device, inode;
    char *rest; /* the beginning of a line whose end is not there yet */
    size_t rest_size;
    bool skipping; /* inside a line that is too long */
};

void dp_tail_init(struct dp_tail *tail);
void dp_tail_fini(struct dp_tail *tail);
/* dp_tail_read gives new lines to the sink; true when there is more to read now. A file that is not there, or not a regular file, has no lines. */
bool dp_tail_read(struct dp_tail *tail, const char *path, const struct dp_tail_sink *sink);
