/* shelflife-sample: writes synthetic clips with titles, labels and a manifest, for `shelflife sample`. A program of its own, since it links
 * the encoders, which the trainer does not need. This file holds the command line, the threads and the order in which things are written:
 * the manifest comes last, so a folder with a manifest is complete. */
#include "common/error.h"
#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/progress.h"
#include "common/signals.h"
#include "deploy/sample/catalogue.h"
#include "deploy/sample/clip.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <libavutil/log.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define CLIPS_DEFAULT 1200
#define JOBS_MAX 256
#define TEXT_MAX ((size_t)1 << 30) /* bytes of the manifest of DP_CLIPS_MAX clips, with room */
#define SUMMARY_MAX ((size_t)1 << 20)
#define WAIT_MS 100 /* between looks at the counters */

static const char help[] =
        "usage: shelflife sample DIR [--clips N] [--seed S] [--jobs J] [--json]\n"
        "       shelflife sample DIR --summary [--json]\n"
        "\n"
        "Writes N synthetic clips (mp4, H.264, 3 to 5 seconds) with titles in Chinese and English, labels "
        "and publication times:\n"
        "  DIR/videos/clip-*.mp4   the clips\n"
        "  DIR/manifest.jsonl      one row a clip, as `shelflife import` takes it, with splits for training, "
        "validation and test\n"
        "  DIR/signs.jsonl         whose signs each title and picture shows\n"
        "  DIR/summary.json        how the clips were drawn, and the best accuracy that can be reached\n"
        "\n"
        "  --clips N   how many (default 1200); fewer clips are the beginning of more clips with the same "
        "seed\n"
        "  --seed S    0 to 2^64 - 1 (default 1): the same seed gives the same titles, labels and pictures\n"
        "  --jobs J    threads (default: one a core)\n"
        "  --summary   writes nothing, prints the summary of the clips in DIR again\n"
        "  --json      prints the summary as JSON\n"
        "  --help      prints this\n"
        "\n"
        "Clips that are there already are kept: run it again to go on after a stop.\n"
        "\n"
        "example: shelflife sample demo/sample --clips 1200 --seed 1\n";

struct options {
    const char *dir;
    int clips, jobs;
    uint64_t seed;
    bool json, help, summary;
};

/* What a run leaves for its report and its exit code. */
struct outcome {
    struct dp_catalogue catalogue;
    int drawn;
    int signals; /* descriptor: see signals.h */
    int caught;  /* number of the signal that stopped the run, or 0 */
};

/* What the threads share: counters, and the first failure. */
struct studio {
    const struct options *options;
    _Atomic int next, done, drawn;
    _Atomic bool stop;
    int signals;          /* descriptor: see signals.h */
    int caught;           /* number of the signal that stopped the work, or 0 */
    pthread_mutex_t lock; /* over failed and err */
    bool failed;
    struct sl_error err;
};

static enum sl_status parse_number(uint64_t *ret_value, const char *flag, const char *text, uint64_t low,
        uint64_t high, struct sl_error *err)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < low || value > high)
        return sl_fail(err, SL_USAGE, "--%s: \"%s\" is not a whole number from %" PRIu64 " to %" PRIu64, flag,
                text, low, high);
    *ret_value = value;
    return SL_OK;
}

static int core_count(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > JOBS_MAX ? JOBS_MAX : count;
}

static enum sl_status parse_options(struct options *options, int argc, char **argv, struct sl_error *err)
{
    static const struct option flags[] = {{"clips", required_argument, NULL, 'c'},
            {"seed", required_argument, NULL, 's'}, {"jobs", required_argument, NULL, 'j'},
            {"json", no_argument, NULL, 'J'}, {"summary", no_argument, NULL, 'S'},
            {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    *options = (struct options){.clips = CLIPS_DEFAULT, .jobs = core_count(), .seed = 1};
    opterr = 0;
    for (;;) {
        uint64_t value = 0;
        enum sl_status s = SL_OK;
        int flag = getopt_long(argc, argv, ":h", flags, NULL);
        if (flag == -1)
            break;
        if (flag == 'c') {
            s = parse_number(&value, "clips", optarg, 1, DP_CLIPS_MAX, err);
            options->clips = (int)value;
        } else if (flag == 's') {
            s = parse_number(&options->seed, "seed", optarg, 0, UINT64_MAX, err);
        } else if (flag == 'j') {
            s = parse_number(&value, "jobs", optarg, 1, JOBS_MAX, err);
            options->jobs = (int)value;
        } else if (flag == 'J') {
            options->json = true;
        } else if (flag == 'S') {
            options->summary = true;
        } else if (flag == 'h') {
            options->help = true;
        } else {
            s = sl_fail(err, SL_USAGE, "%s %s; see shelflife sample --help", argv[optind - 1],
                    flag == ':' ? "needs a value" : "is not an option");
        }
        if (s != SL_OK)
            return s;
    }
    if (options->help)
        return SL_OK;
    if (argc - optind != 1 || argv[optind][0] == '\0')
        return sl_fail(err, SL_USAGE,
                "give one folder to write to, such as demo/sample; see shelflife sample --help");
    options->dir = argv[optind];
    return SL_OK;
}

static void *shoot_clips(void *context)
{
    struct studio *studio = context;
    const struct options *options = studio->options;
    while (!atomic_load(&studio->stop)) {
        int clip = atomic_fetch_add(&studio->next, 1);
        if (clip >= options->clips)
            break;
        struct dp_plan plan = dp_plan_make(options->seed, clip);
        struct sl_error err = {0};
        char id[DP_CLIP_ID_MAX];
        dp_plan_id(&plan, id);
        bool drawn = false;
        SL_AUTO_FREE char *path = sl_strdup_printf("%s/videos/%s.mp4", options->dir, id);
        enum sl_status s = path == NULL ? sl_fail(&err, SL_NO_MEMORY, "out of memory")
                                        : dp_clip_make(&plan, path, &drawn, &err);
        if (s != SL_OK) {
            pthread_mutex_lock(&studio->lock);
            if (!studio->failed) {
                studio->failed = true;
                studio->err = err;
            }
            pthread_mutex_unlock(&studio->lock);
            atomic_store(&studio->stop, true);
            break;
        }
        atomic_fetch_add(&studio->drawn, drawn);
        atomic_fetch_add(&studio->done, 1);
    }
    return NULL;
}

/* Shows progress until all clips are done, a thread failed, or a signal came. */
static void watch(struct studio *studio)
{
    struct sl_progress progress;
    sl_progress_begin(
            &progress, &(struct sl_progress_options){
                               .title = "sample", .unit = "clips", .total = studio->options->clips});
    int done = 0;
    while (done < studio->options->clips && !atomic_load(&studio->stop)) {
        struct pollfd wait = {.fd = studio->signals, .events = POLLIN};
        (void)poll(&wait, 1, WAIT_MS);
        int number = sl_signals_take(studio->signals);
        if (number == SIGTERM || number == SIGINT || number == SIGUSR1) {
            studio->caught = number;
            atomic_store(&studio->stop, true);
        }
        done = atomic_load(&studio->done);
        sl_progress_update(&progress, done, NULL);
    }
    sl_progress_end(&progress);
}

static enum sl_status make_clips(const struct options *options, struct outcome *outcome, struct sl_error *err)
{
    struct studio studio = {
            .options = options, .lock = PTHREAD_MUTEX_INITIALIZER, .signals = outcome->signals};
    SL_AUTO_FREE pthread_t *threads = sl_alloc((size_t)options->jobs, sizeof *threads);
    if (threads == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    int started = 0;
    while (started < options->jobs && pthread_create(&threads[started], NULL, shoot_clips, &studio) == 0)
        started++;
    if (started > 0)
        watch(&studio);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&studio.lock);
    outcome->drawn = atomic_load(&studio.drawn);
    outcome->caught = studio.caught;
    if (started == 0)
        return sl_fail(err, SL_FAILED, "cannot start a thread; try --jobs 1");
    if (studio.failed) {
        *err = studio.err;
        return err->status;
    }
    if (atomic_load(&studio.done) < options->clips)
        return sl_fail(err, SL_STOPPED, "stopped after %d of %d clips; run the same command again to go on",
                atomic_load(&studio.done), options->clips);
    return SL_OK;
}

/* What an earlier run has drawn, from its summary. Errors: NOT_FOUND, BAD_DATA. */
static enum sl_status read_summary(
        const char *path, uint64_t *ret_seed, int *ret_clips, int64_t *ret_version, struct sl_error *err)
{
    SL_AUTO_FREE char *text = NULL;
    size_t size = 0;
    enum sl_status s = sl_file_read(&text, &size, path, SUMMARY_MAX, err);
    if (s != SL_OK)
        return s;
    json_t *root = json_loadb(text, size, 0, NULL), *seed_text = json_object_get(root, "seed");
    const char *format = json_string_value(json_object_get(root, "format"));
    json_int_t clips = json_integer_value(json_object_get(root, "clips"));
    bool ours = format != NULL && strcmp(format, DP_CATALOGUE_FORMAT) == 0 && clips >= 1 &&
                clips <= DP_CLIPS_MAX && json_is_string(seed_text);
    *ret_seed = ours ? strtoull(json_string_value(seed_text), NULL, 10) : 0;
    *ret_clips = (int)clips;
    *ret_version = json_integer_value(json_object_get(root, "version"));
    json_decref(root);
    return ours ? SL_OK : sl_fail(err, SL_BAD_DATA, "%s was not written by shelflife sample", path);
}

/* Refuses a folder whose manifest this command did not write: it would be replaced. */
static enum sl_status check_folder(const char *manifest, const char *summary, struct sl_error *err)
{
    uint64_t seed;
    int clips;
    int64_t version;
    struct sl_error ignored = {0};
    if (access(manifest, F_OK) != 0 || read_summary(summary, &seed, &clips, &version, &ignored) == SL_OK)
        return SL_OK;
    return sl_fail(err, SL_USAGE,
            "%s was not written by shelflife sample and would be replaced; choose another folder", manifest);
}

/* One run at a time in a folder; then what a killed run left half-written can go. The lock lasts as long as *ret_fd is open. */
static enum sl_status lock_videos(int *ret_fd, const char *videos, struct sl_error *err)
{
    SL_AUTO_CLOSE int fd = open(videos, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return sl_fail_errno(err, "cannot open %s", videos);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return sl_fail(
                err, SL_FAILED, "another run is writing to %s; wait for it or choose another folder", videos);
    DIR *folder = opendir(videos);
    if (folder == NULL)
        return sl_fail_errno(err, "cannot read %s", videos);
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (strncmp(entry->d_name, "clip-", 5) == 0 && strstr(entry->d_name, ".mp4.tmp-") != NULL)
            (void)unlinkat(fd, entry->d_name, 0);
    }
    closedir(folder);
    *ret_fd = fd;
    fd = -1;
    return SL_OK;
}

/* Takes the old manifest away when it is not the one that will be written, before the first clip changes. */
static enum sl_status retire_manifest(const char *path, const char *text, size_t size, struct sl_error *err)
{
    SL_AUTO_FREE char *old = NULL;
    size_t old_size = 0;
    struct sl_error ignored = {0};
    enum sl_status s = sl_file_read(&old, &old_size, path, TEXT_MAX, &ignored);
    if (s == SL_NOT_FOUND || (s == SL_OK && old_size == size && memcmp(old, text, size) == 0))
        return SL_OK;
    return unlink(path) == 0 || errno == ENOENT ? SL_OK : sl_fail_errno(err, "cannot replace %s", path);
}

static enum sl_status write_text(struct sl_json *json, const char *path, struct sl_error *err)
{
    const char *text = NULL;
    size_t size = 0;
    sl_json_raw(json, NULL, ""); /* ends the last line */
    enum sl_status s = sl_json_finish(json, &text, &size, err);
    return s == SL_OK ? sl_file_write_atomic(path, text, size, err) : s;
}

static enum sl_status run(const struct options *options, struct outcome *outcome, struct sl_error *err)
{
    SL_AUTO_FREE char *videos = sl_path_join(options->dir, "videos"),
                      *manifest = sl_path_join(options->dir, "manifest.jsonl");
    SL_AUTO_FREE char *signs = sl_path_join(options->dir, "signs.jsonl"),
                      *summary = sl_path_join(options->dir, "summary.json");
    if (videos == NULL || manifest == NULL || signs == NULL || summary == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    SL_AUTO(sl_json_fini) struct sl_json rows, key, facts;
    sl_json_init(&rows, TEXT_MAX);
    sl_json_init(&key, TEXT_MAX);
    sl_json_init(&facts, SUMMARY_MAX);
    facts.pretty = true;
    outcome->catalogue = dp_catalogue_count(options->seed, options->clips);
    dp_catalogue_manifest(&rows, options->seed, options->clips);
    dp_catalogue_signs(&key, options->seed, options->clips);
    dp_catalogue_summary(&facts, &outcome->catalogue);
    sl_json_raw(&rows, NULL, ""); /* ends the last line */
    const char *text = NULL;
    size_t size = 0;
    enum sl_status s = sl_json_finish(&rows, &text, &size, err);
    if (s == SL_OK)
        s = check_folder(manifest, summary, err);
    if (s == SL_OK)
        s = sl_file_make_directories(videos, err);
    SL_AUTO_CLOSE int lock = -1;
    if (s == SL_OK)
        s = lock_videos(&lock, videos, err);
    if (s == SL_OK)
        s = retire_manifest(manifest, text, size, err);
    if (s == SL_OK)
        s = make_clips(options, outcome, err);
    if (s == SL_OK)
        s = write_text(&key, signs, err);
    if (s == SL_OK)
        s = write_text(&facts, summary, err);
    return s == SL_OK ? sl_file_write_atomic(manifest, text, size, err) : s;
}

/* --summary: counts again what an earlier run has drawn. */
static enum sl_status recall(struct options *options, struct outcome *outcome, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(options->dir, "summary.json");
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    int64_t version = 0;
    enum sl_status s = read_summary(path, &options->seed, &options->clips, &version, err);
    if (s == SL_NOT_FOUND)
        return sl_fail(err, SL_USAGE, "%s does not exist: there are no clips of shelflife sample", path);
    if (s == SL_OK && version != DP_VERSION)
        s = sl_fail(err, SL_BAD_DATA,
                "%s is of version %" PRId64 ", this program draws version %d; make the clips again", path,
                version, DP_VERSION);
    if (s == SL_OK)
        outcome->catalogue = dp_catalogue_count(options->seed, options->clips);
    return s;
}

static enum sl_status report(
        const struct options *options, const struct outcome *outcome, struct sl_error *err)
{
    if (options->json) {
        SL_AUTO(sl_json_fini) struct sl_json json;
        sl_json_init(&json, SUMMARY_MAX);
        dp_catalogue_summary(&json, &outcome->catalogue);
        const char *text = NULL;
        enum sl_status s = sl_json_finish(&json, &text, NULL, err);
        if (s != SL_OK)
            return s;
        printf("%s\n", text);
    } else {
        dp_catalogue_print(stdout, &outcome->catalogue);
        if (!options->summary)
            printf("%d clips drawn, %d were there: %s/manifest.jsonl\n", outcome->drawn,
                    options->clips - outcome->drawn, options->dir);
    }
    return fflush(stdout) == 0 ? SL_OK : sl_fail_errno(err, "cannot write to standard output");
}

static int exit_code(enum sl_status status, int caught)
{
    if (status == SL_STOPPED)
        return sl_signals_exit_code(caught, NULL);
    return status <= SL_GAVE_UP ? (int)status : SL_FAILED;
}

int main(int argc, char **argv)
{
    struct sl_error err = {0};
    struct options options;
    struct outcome outcome = {.signals = -1};
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write(), with its text */
    (void)setlocale(LC_CTYPE, "");  /* for the progress bar */
    av_log_set_level(AV_LOG_FATAL); /* failures come back as codes, with their text */
    enum sl_status s = parse_options(&options, argc, argv, &err);
    if (s == SL_OK && options.help) {
        fputs(help, stdout);
        return 0;
    }
    if (s == SL_OK)
        s = sl_signals_open(&outcome.signals, &err);
    if (s == SL_OK)
        s = options.summary ? recall(&options, &outcome, &err) : run(&options, &outcome, &err);
    if (s == SL_OK)
        s = report(&options, &outcome, &err);
    if (s != SL_OK)
        fprintf(stderr, "shelflife sample: %s\n", err.text);
    return exit_code(s, outcome.caught);
}
