/* The table of where the time went: see profile.h. */
#include "ps/profile.h"

#include <inttypes.h>

void ps_profile_add(struct ps_profile *profile, const struct ps_step_record *record)
{
    profile->steps++;
    profile->workers += record->workers;
    profile->seconds += record->seconds;
    profile->update_seconds += record->update_seconds;
    for (int i = 0; i < SL_SPENT_COUNT; i++)
        profile->spent[i] += record->spent[i];
}

static void row(FILE *stream, const char *name, double seconds, double of, const char *what)
{
    (void)fprintf(stream, "  %-10s %10.3f ms %6.1f %%  %s\n", name, seconds * 1e3,
            of > 0.0 ? 100.0 * seconds / of : 0.0, what);
}

void ps_profile_print(const struct ps_profile *profile, FILE *stream)
{
    static const char *const names[] = {
#define X(kind, name, what) [SL_SPENT_##kind] = name,
            SL_SPENT_KINDS(X)
#undef X
    };
    static const char *const whats[] = {
#define X(kind, name, what) [SL_SPENT_##kind] = what,
            SL_SPENT_KINDS(X)
#undef X
    };
    if (profile->steps == 0 || !(profile->workers > 0.0))
        return;
    double whole = profile->spent[SL_SPENT_COMPUTE] + profile->spent[SL_SPENT_PUSH] +
                   profile->spent[SL_SPENT_PULL] + profile->spent[SL_SPENT_WAIT],
           idle = profile->spent[SL_SPENT_COMPUTE], steps = (double)profile->steps;
    for (int i = 0; i < SL_SPENT_THREADS; i++)
        idle -= profile->spent[i];
    (void)fprintf(stream, "profile of %" PRId64 " steps: means over steps and workers\n", profile->steps);
    for (int i = 0; i < SL_SPENT_COUNT; i++) {
        if (i == SL_SPENT_COMPUTE) /* its parts stand above, the rest here */
            row(stream, "idle", (idle > 0.0 ? idle : 0.0) / profile->workers, whole / profile->workers,
                    "compute threads that wait for each other's last slot");
        else
            row(stream, names[i], profile->spent[i] / profile->workers, whole / profile->workers, whats[i]);
    }
    row(stream, "all", whole / profile->workers, whole / profile->workers, "of a worker's time");
    (void)fprintf(stream,
            "  a step takes %.3f ms from its opening to its commit, %.3f ms more until all servers have "
            "applied it\n",
            profile->seconds / steps * 1e3, profile->update_seconds / steps * 1e3);
}
