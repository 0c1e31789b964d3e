/* `shelflife`: finds the command and runs it. */
#include "common/error.h"
#include "common/memory.h"
#include "deploy/command.h"
#include "worker/model/blas.h"

#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
    bool exchanges; /* blocks with other processes, all the time */
};

static const struct command commands[] = {
        {"sample", dp_sample, "make synthetic clips with titles and labels, to try things on", false},
        {"vocab", dp_vocab, "build a WordPiece vocabulary from a manifest's texts", false},
        {"import", dp_import, "decode, tokenise and shard a manifest's videos into a dataset", false},
        {"inspect", dp_inspect, "show what is in a dataset, or one sample of it", false},
        {"train", dp_train, "train on this machine: starts servers and workers", true},
        {"server", dp_server, "run one parameter server", true},
        {"worker", dp_worker, "run one worker", true},
        {"node", dp_node, "run the server or worker that Slurm, Kubernetes or MPI says this is", true},
        {"ssh", dp_ssh, "train on other machines: starts servers and workers there", false},
        {"status", dp_status, "say how a run goes", false},
        {"top", dp_top, "watch a run in the terminal", false},
        {"evaluate", dp_evaluate, "measure a snapshot on a dataset", false},
        {"predict", dp_predict, "say how long videos stay worth recommending", false},
        {"serve", dp_serve, "answer requests over HTTP and ZeroMQ: a snapshot as a service", false},
        {"export", dp_export, "write a snapshot as safetensors or ONNX for other programs", false},
        {"snapshot", dp_snapshot, "list, verify or prune snapshots", false},
        {"keygen", dp_keygen, "make the keys that encrypt a cluster's traffic", false},
        {"config", dp_config, "check a config and print it with all defaults", false},
        {"dashboard", dp_dashboard, "a web page about runs, live and past", false},
        {"bench", dp_bench, "measure parts of training beside the machine's limits", true},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *stream)
{
    fprintf(stream, "usage: shelflife COMMAND [OPTIONS]\n\n"
                    "Trains and runs a classifier that says how long a video stays worth recommending.\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(stream, "\nshelflife COMMAND --help tells more; shelflife --version prints the version.\n");
}

int main(int argc, char **argv)
{
    wk_blas_restart(argv);
    (void)setlocale(LC_CTYPE, "");
    if (argc < 2) {
        print_help(stderr);
        return SL_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return SL_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        printf("shelflife %s\n", SHELFLIFE_VERSION);
        return SL_OK;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (commands[i].exchanges)
            sl_memory_keep_freed();
        return commands[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "shelflife: there is no command %s; shelflife --help lists them\n", argv[1]);
    return SL_USAGE;
}
