/* Starting again: see restarts.h. */
#include "deploy/launch/restarts.h"

#include "common/file.h"
#include "common/memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TAIL_SIZE (64 << 10) /* of metrics.jsonl: more than a step's line and a validation's */

bool dp_restart_worthwhile(int exit_code)
{
    return exit_code >= 128;
}

bool dp_restarts_plan(struct dp_restarts *r, int64_t newest_step, int64_t now_us)
{
    bool soon = r->begun_us > 0 && now_us - r->begun_us < DP_SOON_US;
    if (newest_step - r->step >= (soon ? DP_FRUITFUL_STEPS : 1))
        r->fruitless = 0;
    r->step = newest_step > r->step ? newest_step : r->step;
    if (++r->fruitless > DP_FRUITLESS_MAX)
        return false;
    r->pause_us = !soon ? 0 : r->pause_us == 0 ? DP_PAUSE_MIN_US : 2 * r->pause_us;
    if (r->pause_us > DP_PAUSE_MAX_US)
        r->pause_us = DP_PAUSE_MAX_US;
    r->due_us = now_us + r->pause_us;
    r->planned = true;
    return true;
}

void dp_restarts_begin(struct dp_restarts *r, int64_t now_us)
{
    r->begun_us = now_us;
    r->planned = false;
}

/* The number after the last "kind":"step" … "step": of the text. */
static int64_t last_step(const char *text)
{
    static const char kind[] = "\"kind\":\"step\"", key[] = "\"step\":";
    int64_t step = -1;
    for (const char *at = text; (at = strstr(at, kind)) != NULL;) {
        at += sizeof(kind) - 1;
        const char *number = strstr(at, key), *end = strchr(at, '\n');
        if (number != NULL && end != NULL && number < end)
            step = strtoll(number + sizeof(key) - 1, NULL, 10);
    }
    return step;
}

int64_t dp_newest_step(const char *run)
{
    SL_AUTO_FREE char *path = sl_path_join(run, "metrics.jsonl");
    SL_AUTO_FREE char *text = sl_alloc(TAIL_SIZE + 1, 1);
    int fd = path == NULL || text == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    off_t size = lseek(fd, 0, SEEK_END);
    ssize_t got = pread(fd, text, TAIL_SIZE, size > TAIL_SIZE ? size - TAIL_SIZE : 0);
    (void)close(fd);
    return got > 0 ? last_step(text) : -1;
}
