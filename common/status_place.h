#pragma once
/* Where a run can be heard: RUN/status.json, which the coordinator writes when its status socket stands and again when it ends.
 *
 *     {"endpoint": "tcp://127.0.0.1:40713", "public_key": null, "host": "a", "pid": 4711, "started": 1795478400.0, "config_hash": "975c6874df47c19a"}
 *     {…, "ended": 1795482000.5, "step": 1200, "reason": "all steps done", "exit_code": 0}       when it came to an orderly end
 *
 * The file's time of change is a sign of life: it moves on every few seconds while the run's process lives, on any file system. So somebody
 * who finds the file can tell a run that lives, one that has ended, and one that died without a word.
 *
 *     struct sl_status_place place;
 *     s = sl_status_place_read(&place, "runs/first", err);              // or "tcp://127.0.0.1:40713"
 */
#include "common/config.h"
#include "common/error.h"
#include "common/keys.h"

#define SL_STATUS_FILE "status.json"
#define SL_STATUS_ENDPOINT_MAX 256
#define SL_STATUS_REASON_MAX 512
#define SL_STATUS_SIGN_SECONDS 5 /* how often the file's time moves on */

/* Plain data. Times are Unix seconds. */
struct sl_status_place {
    char folder[SL_PATH_MAX]; /* "" = known by its endpoint only */
    char endpoint[SL_STATUS_ENDPOINT_MAX];
    char public_key[SL_KEY_TEXT_SIZE]; /* the server's; "" = not encrypted, or not known */
    char host[256];
    int64_t pid;
    double started;
    uint64_t config_hash; /* 0 = not known */
    double sign;          /* the file's time of change */
    bool ended;
    double ended_at; /* these when it has ended */
    int64_t step;
    int exit_code;
    char reason[SL_STATUS_REASON_MAX];
};

/* sl_status_place_read finds out about a run's folder, its status.json, or an endpoint (tcp://…, ipc://…). Errors: NOT_FOUND when the folder has no
 * status.json, BAD_DATA when that makes no sense, USAGE when text is none of the three, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_status_place_read(
        struct sl_status_place *ret_place, const char *text, struct sl_error *err);

/* sl_status_place_write writes place->folder's file, whole or not at all. Errors: DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_status_place_write(const struct sl_status_place *place, struct sl_error *err);

/* sl_status_place_done says that a run with this config came to its end there, with all that it was to do: the same again would find nothing left. */
bool sl_status_place_done(const struct sl_status_place *place, uint64_t config_hash);

/* sl_status_place_begin takes back what an earlier end in the folder says about being done: somebody begins there again, perhaps from an earlier snapshot. A folder without an end
 * stays as it is. Errors: DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_status_place_begin(const char *folder, struct sl_error *err);

/* sl_status_place_touch moves the file's time on. Failures are nobody's business: a reader then sees an old sign. */
void sl_status_place_touch(const struct sl_status_place *place);

/* sl_status_places_find reads all runs in dir: dir itself, dir/NAME and dir/NAME/NAME that have a status.json, in order of their start; those whose file makes
 * no sense are left out. ret_count: how many there are, of which the last `most` were filled in. Errors: NOT_FOUND when dir is no folder, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_status_places_find(
        struct sl_status_place *ret_places, int most, int *ret_count, const char *dir, struct sl_error *err);

/* sl_status_place_dead says that the run's process is certainly no more: it was one of this machine and is not there. */
bool sl_status_place_dead(const struct sl_status_place *place);
