/* `shelflife`: finds the command and runs it. */
#include "common/error.h"
#include "deploy/command.h"
#include "worker/model/blas.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};

static const struct command commands[] = {
        {"sample", dp_sample, "make synthetic clips with titles and labels, to try things on"},
        {"vocab", dp_vocab, "build a WordPiece vocabulary from a manifest's texts"},
        {"import", dp_import, "decode, tokenise and shard a manifest's videos into a dataset"},
        {"inspect", dp_inspect, "show what is in a dataset, or one sample of it"},
        {"train", dp_train, "train on this machine: starts servers and workers"},
        {"server", dp_server, "run one parameter server"},
        {"worker", dp_worker, "run one worker"},
        {"node", dp_node, "run the server or worker that Slurm, Kubernetes or MPI says this is"},
        {"ssh", dp_ssh, "train on other machines: starts servers and workers there"},
        {"status", dp_status, "say how a run goes"},
        {"top", dp_top, "watch a run in the terminal"},
        {"evaluate", dp_evaluate, "measure a snapshot on a dataset"},
        {"predict", dp_predict, "say how long videos stay worth recommending"},
        {"export", dp_export, "write a snapshot as safetensors or ONNX for other programs"},
        {"snapshot", dp_snapshot, "list, verify or prune snapshots"},
        {"keygen", dp_keygen, "make the keys that encrypt a cluster's traffic"},
        {"config", dp_config, "check a config and print it with all defaults"},
        {"dashboard", dp_dashboard, "a web page about runs, live and past"},
        {"bench", dp_bench, "measure parts of training beside the machine's limits"},
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
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "shelflife: there is no command %s; shelflife --help lists them\n", argv[1]);
    return SL_USAGE;
}
