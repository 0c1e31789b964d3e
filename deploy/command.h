#pragma once
/* The commands of `shelflife`: each has one function in a file cmd_NOUN.c, which takes its own argv and returns an exit code.
 * Helpers that several commands share stand here too. */
#include "common/config.h"
#include "common/error.h"

#define DP_OVERRIDES_MAX 64
#define DP_EXIT_RETRY                                                                                        \
    142 /* lost the cluster, nothing else is wrong: start it again. As a shell gives SIGALRM: codes from 128 on are worth another try */

int dp_sample(int argc, char **argv);
int dp_vocab(int argc, char **argv);
int dp_import(int argc, char **argv);
int dp_inspect(int argc, char **argv);
int dp_train(int argc, char **argv);
int dp_server(int argc, char **argv);
int dp_worker(int argc, char **argv);
int dp_node(int argc, char **argv);
int dp_ssh(int argc, char **argv);
int dp_evaluate(int argc, char **argv);
int dp_predict(int argc, char **argv);
int dp_serve(int argc, char **argv);
int dp_export(int argc, char **argv);
int dp_snapshot(int argc, char **argv);
int dp_status(int argc, char **argv);
int dp_top(int argc, char **argv);
int dp_config(int argc, char **argv);
int dp_keygen(int argc, char **argv);
int dp_bench(int argc, char **argv);
int dp_dashboard(int argc, char **argv);

/* `--set key=value` options, collected. */
struct dp_overrides {
    const char *texts[DP_OVERRIDES_MAX];
    int count;
};

/* dp_overrides_add appends one. Errors: USAGE when there are too many. */
SL_MUST_USE enum sl_status dp_overrides_add(
        struct dp_overrides *overrides, const char *text, struct sl_error *err);

/* One option of a command, for dp_parse. */
enum dp_option_kind {
    DP_TEXT,    /* value: const char * */
    DP_NUMBER,  /* value: int64_t, within [least, most] */
    DP_FLAG,    /* value: bool, set when the option is given; it takes no value */
    DP_OVERRIDE /* value: struct dp_overrides */
};
struct dp_option {
    const char *name; /* without the dashes */
    enum dp_option_kind kind;
    void *value; /* left alone when the option is not given */
    int64_t least, most;
};
#define DP_OPTIONS_MAX 24

/* dp_parse reads the options of a command that takes one argument besides, which the first line of help names; --help prints `help`. Returns 0 to go on, -1 when help was shown (exit with 0), else the exit code: what was
 * wrong has been printed. */
int dp_parse(const char *command, const char *help, const struct dp_option *options, int option_count,
        int argc, char **argv, const char **ret_argument);

/* dp_fail prints "shelflife COMMAND: text" to standard error and gives the exit code of the status (TIMEOUT is DP_EXIT_RETRY, other codes past 8
 * are 1). */
int dp_fail(const char *command, enum sl_status status, const struct sl_error *err);

/* dp_usage prints why and how to get help, and gives 2. */
int dp_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* dp_number reads a whole number within [least, most]. Errors: USAGE naming the option. */
SL_MUST_USE enum sl_status dp_number(int64_t *ret_number, const char *option, const char *text, int64_t least,
        int64_t most, struct sl_error *err);

/* dp_sibling gives the path of a program in the folder of the running one, such as shelflife-decode. Shapes: path has SL_PATH_MAX bytes. */
SL_MUST_USE enum sl_status dp_sibling(char *path, const char *name, struct sl_error *err);
