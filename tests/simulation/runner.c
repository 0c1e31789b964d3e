/* Many worlds: see runner.h. */
#include "tests/simulation/runner.h"

#include "tests/simulation/faults.h"
#include "tests/simulation/world.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BROKEN_MAX 16 /* that are kept for people */
#define EVENTS_SHOWN 120
#define CPU_SECONDS 20 /* of a job with a deliberate fault */
#define RARE 64        /* times the seeds, for a fault that none of them found */
#define DEATHS_MAX 3   /* of a job with a deliberate fault: it is caught well enough */

/* What the processes share: each job writes its own. */
struct job {
    pid_t pid;
    uint64_t next; /* seed, counted from runner->from, that is at work or comes next */
    uint64_t done, broken, failed;
    uint64_t seeds[BROKEN_MAX];
    char texts[BROKEN_MAX][SIM_FAILURE_MAX];
    struct sim_totals totals;
    int64_t stalest;
    uint64_t written, write_failed, torn;
};

/* ---- one world ---- */

static void add_totals(struct sim_totals *sum, const struct sim_totals *x)
{
    sum->events += x->events;
    sum->sent += x->sent;
    sum->lost += x->lost;
    sum->doubled += x->doubled;
    sum->bytes += x->bytes;
    sum->crashes += x->crashes;
    sum->pauses += x->pauses;
    sum->cuts += x->cuts;
    sum->stops += x->stops;
    sum->steps += x->steps;
    sum->rollbacks += x->rollbacks;
    sum->rejoins += x->rejoins;
    sum->audits += x->audits;
    sum->virtual_us += x->virtual_us;
}

static void note_broken(struct job *job, uint64_t seed, const char *text)
{
    if (job->broken < BROKEN_MAX) {
        job->seeds[job->broken] = seed;
        (void)snprintf(job->texts[job->broken], SIM_FAILURE_MAX, "%.*s", SIM_FAILURE_MAX - 1, text);
    }
    job->broken++;
}

static void run_seed(const struct sim_runner *runner, struct job *job, struct sim_model **models,
        uint64_t seed, FILE *trace)
{
    struct sim_plan plan = sim_plan_make(seed, runner->servers, runner->workers);
    char failure[SIM_FAILURE_MAX] = "";
    if (models[plan.model] == NULL)
        models[plan.model] = sim_model_create(plan.model);
    if (!sim_learn(models[plan.model], failure)) {
        char text[SIM_FAILURE_MAX + 64];
        (void)snprintf(text, sizeof(text), "the undisturbed run of model %d: %s", (int)plan.model, failure);
        note_broken(job, seed, text);
        return;
    }
    struct sim_world *w = sim_world_create(models[plan.model], &plan, trace);
    sim_world_run(w);
    add_totals(&job->totals, &w->totals);
    job->written += w->disk.written;
    job->write_failed += w->disk.failed;
    job->torn += w->disk.torn;
    if (w->check.stalest > job->stalest)
        job->stalest = w->check.stalest;
    if (w->failure[0] != 0)
        note_broken(job, seed, w->failure);
    sim_world_destroy(w);
}

static void drop_models(struct sim_model **models)
{
    for (int k = 0; k < SIM_MODEL_COUNT; k++)
        sim_model_destroy(models[k]);
}

/* ---- jobs ---- */

/* In the child: every jobs-th seed from job->next on. */
static void work(const struct sim_runner *runner, struct job *job)
{
    struct sim_model *models[SIM_MODEL_COUNT] = {NULL};
    for (; job->next < runner->seeds; job->next += (uint64_t)runner->jobs) {
        run_seed(runner, job, models, runner->from + job->next, NULL);
        job->done++;
    }
    drop_models(models);
}

static bool start_job(const struct sim_runner *runner, struct job *job, bool silent)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (silent && freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        if (silent) /* a deliberate fault may make a core run for ever */
            (void)setrlimit(RLIMIT_CPU, &(struct rlimit){CPU_SECONDS, CPU_SECONDS});
        work(runner, job);
        (void)fflush(NULL);
        exit(0); /* a leak found here ends the job with its sanitizer's code */
    }
    job->pid = pid; /* the parent's alone: the memory is shared */
    if (pid < 0)
        (void)fprintf(stderr, "simulate: cannot start a process\n");
    return pid > 0;
}

/* A child that died takes its seed with it; another one goes on behind it. */
static bool wait_job(const struct sim_runner *runner, struct job *job, bool silent)
{
    for (int deaths = 1;; deaths++) {
        int state = 0;
        if (waitpid(job->pid, &state, 0) != job->pid)
            return false;
        if (WIFEXITED(state) && WEXITSTATUS(state) == 0)
            return true;
        char text[96];
        if (WIFSIGNALED(state))
            (void)snprintf(text, sizeof(text), "the program died of signal %d (%s)", WTERMSIG(state),
                    strsignal(WTERMSIG(state)));
        else
            (void)snprintf(text, sizeof(text), "the program ended with code %d", WEXITSTATUS(state));
        note_broken(job, runner->from + job->next, text);
        if (job->next >= runner->seeds || (silent && deaths == DEATHS_MAX))
            return true;
        job->next += (uint64_t)runner->jobs;
        job->done++;
        if (!start_job(runner, job, silent))
            return false;
    }
}

static struct job *run_jobs(const struct sim_runner *runner, bool silent)
{
    size_t size = (size_t)runner->jobs * sizeof(struct job);
    struct job *jobs = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (jobs == MAP_FAILED)
        return NULL;
    bool good = true;
    for (int j = 0; j < runner->jobs; j++) {
        jobs[j].next = (uint64_t)j;
        good = start_job(runner, &jobs[j], silent) && good;
    }
    for (int j = 0; j < runner->jobs; j++)
        good = jobs[j].pid > 0 && wait_job(runner, &jobs[j], silent) && good;
    if (good)
        return jobs;
    (void)munmap(jobs, size);
    return NULL;
}

/* ---- telling ---- */

static void print_totals(
        const struct sim_runner *runner, const struct job *jobs, double seconds, uint64_t *ret_broken)
{
    struct job sum = {0};
    for (int j = 0; j < runner->jobs; j++) {
        add_totals(&sum.totals, &jobs[j].totals);
        sum.done += jobs[j].done;
        sum.broken += jobs[j].broken;
        sum.written += jobs[j].written;
        sum.write_failed += jobs[j].write_failed;
        sum.torn += jobs[j].torn;
        if (jobs[j].stalest > sum.stalest)
            sum.stalest = jobs[j].stalest;
    }
    const struct sim_totals *t = &sum.totals;
    (void)printf("%" PRIu64 " seeds in %.1f s: %.1f a second, %.1f simulated hours\n", sum.done, seconds,
            (double)sum.done / seconds, (double)t->virtual_us / 3.6e9);
    (void)printf("  messages %" PRIu64 " (%" PRIu64 " lost, %" PRIu64 " doubled), %.1f MB, events %" PRIu64
                 "\n",
            t->sent, t->lost, t->doubled, (double)t->bytes / 1e6, t->events);
    (void)printf("  crashes %" PRIu64 ", pauses %" PRIu64 ", cuts %" PRIu64 ", stops %" PRIu64
                 ", joined anew %" PRIu64 "\n",
            t->crashes, t->pauses, t->cuts, t->stops, t->rejoins);
    (void)printf("  steps %" PRIu64 ", rollbacks %" PRIu64 ", snapshots %" PRIu64 " (%" PRIu64
                 " failed, %" PRIu64 " torn), audits %" PRIu64 ", stalest gradient %" PRId64 "\n",
            t->steps, t->rollbacks, sum.written, sum.write_failed, sum.torn, t->audits, sum.stalest);
    *ret_broken = sum.broken;
}

/* The last lines of what happened, from a replay in another process (it may die again). */
static void show_end(const struct sim_runner *runner, uint64_t seed)
{
    FILE *trace = tmpfile();
    if (trace == NULL)
        return;
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct sim_model *models[SIM_MODEL_COUNT] = {NULL};
        static struct job job;
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        (void)setvbuf(trace, NULL, _IOLBF, 0);
        run_seed(runner, &job, models, seed, trace);
        (void)fflush(trace);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
        (void)fclose(trace);
        return;
    }
    char line[1024];
    long lines = 0;
    rewind(trace);
    while (fgets(line, sizeof(line), trace) != NULL)
        lines++;
    rewind(trace);
    for (long i = 0; fgets(line, sizeof(line), trace) != NULL; i++)
        if (i >= lines - EVENTS_SHOWN)
            (void)fprintf(stderr, "    %s", line);
    (void)fclose(trace);
}

static void print_broken(const struct sim_runner *runner, const struct job *jobs)
{
    bool shown = false;
    for (int j = 0; j < runner->jobs; j++) {
        for (uint64_t i = 0; i < jobs[j].broken && i < BROKEN_MAX; i++) {
            (void)fprintf(stderr, "seed %" PRIu64 ": %s\n", jobs[j].seeds[i], jobs[j].texts[i]);
            if (!shown)
                show_end(runner, jobs[j].seeds[i]);
            shown = true;
            (void)fprintf(
                    stderr, "  replay: simulate --from %" PRIu64 " --seeds 1 --trace", jobs[j].seeds[i]);
            if (runner->workers > 0)
                (void)fprintf(stderr, " --workers %d", runner->workers);
            if (runner->servers > 0)
                (void)fprintf(stderr, " --servers %d", runner->servers);
            (void)fputc('\n', stderr);
        }
    }
}

static double now_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int trace_seeds(const struct sim_runner *runner)
{
    struct sim_model *models[SIM_MODEL_COUNT] = {NULL};
    static struct job job;
    for (uint64_t i = 0; i < runner->seeds; i++)
        run_seed(runner, &job, models, runner->from + i, stderr);
    drop_models(models);
    for (uint64_t i = 0; i < job.broken && i < BROKEN_MAX; i++)
        (void)fprintf(stderr, "seed %" PRIu64 ": %s\n", job.seeds[i], job.texts[i]);
    return job.broken > 0;
}

int sim_run_seeds(const struct sim_runner *runner)
{
    if (runner->trace)
        return trace_seeds(runner);
    double begin = now_seconds();
    uint64_t broken = 0;
    struct job *jobs = run_jobs(runner, false);
    if (jobs == NULL)
        return 1;
    print_totals(runner, jobs, now_seconds() - begin, &broken);
    if (broken > 0) {
        (void)fprintf(stderr, "%" PRIu64 " seeds broke a promise\n", broken);
        print_broken(runner, jobs);
    }
    (void)munmap(jobs, (size_t)runner->jobs * sizeof(*jobs));
    return broken > 0;
}

/* ---- deliberate faults ---- */

/* Runs seeds with the chosen fault: how many found it, and what the first said. False: no process could be started. */
static bool try_fault(const struct sim_runner *runner, uint64_t *caught, char *ret_text)
{
    struct job *jobs = run_jobs(runner, true);
    if (jobs == NULL)
        return false;
    for (int j = runner->jobs - 1; j >= 0; j--) {
        *caught += jobs[j].broken;
        if (jobs[j].broken > 0)
            (void)snprintf(ret_text, SIM_FAILURE_MAX, "%s", jobs[j].texts[0]);
    }
    (void)munmap(jobs, (size_t)runner->jobs * sizeof(*jobs));
    return true;
}

int sim_run_mutants(const struct sim_runner *runner)
{
    int missed = 0;
    if (sim_fault_count() == 0) {
        (void)fprintf(stderr, "simulate: built without deliberate faults; run simulate_mutants\n");
        return 2;
    }
    for (int i = 0; i < sim_fault_count(); i++) {
        char text[SIM_FAILURE_MAX] = "";
        uint64_t caught = 0;
        struct sim_runner batch = *runner;
        sim_fault_choose(i);
        for (uint64_t done = 0; caught == 0 && done < RARE * runner->seeds; done += batch.seeds) {
            batch.from = runner->from + done;
            batch.seeds = done == 0 ? runner->seeds : done; /* some need a rare turn of events: more seeds */
            if (!try_fault(&batch, &caught, text))
                return 1;
        }
        uint64_t seeds = batch.from + batch.seeds - runner->from;
        (void)printf(
                "%-62s %4" PRIu64 " of %5" PRIu64 " seeds  %s\n", sim_fault_name(i), caught, seeds, text);
        (void)fflush(stdout);
        missed += caught == 0;
    }
    if (missed > 0)
        (void)printf("%d deliberate faults were not caught\n", missed);
    return missed > 0;
}
