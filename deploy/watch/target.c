/* Which run is meant: see target.h. */
#include "deploy/watch/target.h"

#include "common/file.h"
#include "common/memory.h"

#include <stdio.h>
#include <string.h>

#define RUNS_MAX 64
#define LISTED_MAX 8

static bool lives(const struct sl_status_place *place)
{
    return !place->ended && !sl_status_place_dead(place);
}

static enum sl_status refuse(
        const struct sl_status_place *places, int count, int all, const char *folder, struct sl_error *err)
{
    char list[SL_ERROR_TEXT_MAX / 2] = "";
    size_t used = 0;
    for (int i = count - 1; i >= 0 && i >= count - LISTED_MAX && used < sizeof(list); i--)
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s (%s)", i < count - 1 ? ", " : "",
                places[i].folder,
                lives(&places[i]) ? "running"
                : places[i].ended ? "finished"
                                  : "gone");
    return sl_fail(err, SL_USAGE, "%s holds %d runs; say which: %s%s", folder, all, list,
            all > LISTED_MAX ? ", …" : "");
}

static enum sl_status choose(struct sl_status_place *ret_place, const char *folder, struct sl_error *err)
{
    int all = 0, chosen = -1, living = 0;
    SL_AUTO_FREE struct sl_status_place *places = sl_alloc(RUNS_MAX, sizeof(*places));
    if (places == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a list of runs");
    enum sl_status status = sl_status_places_find(places, RUNS_MAX, &all, folder, err);
    if (status != SL_OK)
        return status;
    int count = all < RUNS_MAX ? all : RUNS_MAX;
    for (int i = 0; i < count; i++)
        if (lives(&places[i])) {
            chosen = i;
            living++;
        }
    if (all == 1)
        chosen = 0;
    else if (living != 1 && all > 0)
        return refuse(places, count, all, folder, err);
    if (chosen < 0)
        return sl_fail(err, SL_NOT_FOUND,
                "no run in %s: give the run's folder (snapshots.dir of its config), or an endpoint such as "
                "tcp://127.0.0.1:5556",
                strcmp(folder, ".") == 0 ? "this folder" : folder);
    *ret_place = places[chosen];
    return SL_OK;
}

enum sl_status dp_target(struct sl_status_place *ret_place, const char *text, struct sl_error *err)
{
    if (text == NULL)
        return choose(ret_place, ".", err);
    struct sl_error problem = {0};
    enum sl_status status = sl_status_place_read(ret_place, text, &problem);
    if (status == SL_NOT_FOUND && sl_file_is_directory(text)) {
        SL_AUTO_FREE char *config = sl_path_join(text, "config.resolved.yaml");
        if (config != NULL && sl_file_size(config) < 0)
            return choose(ret_place, text, err);
    }
    return status == SL_OK ? SL_OK : sl_fail(err, status, "%s", problem.text);
}
