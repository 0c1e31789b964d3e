/* `shelflife keygen`: makes the CURVE keys of a cluster, or one more client's. */
#include "common/keys.h"
#include "deploy/command.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char help[] =
        "usage: shelflife keygen DIR [--client NAME]...\n"
        "\n"
        "Makes a folder of keys for encrypted training: a pair for the servers and a pair for the workers.\n"
        "Point cluster.keys at it. Nothing that exists is ever overwritten.\n"
        "\n"
        "  --client NAME  makes one more client in DIR (and DIR first, if it is not there): its folder\n"
        "                 DIR/clients/NAME is what that machine needs as its cluster.keys, and its public\n"
        "                 key goes to DIR/allowed. May be given again.\n"
        "  --help         this text\n"
        "\n"
        "Servers need server.key and allowed/, workers client.key and server.pub. Removing allowed/NAME.pub\n"
        "locks NAME out at its next connection. Keep *.key secret: others must not be able to read them.\n"
        "\n"
        "example: shelflife keygen keys --client gpu1 --client gpu2\n";

#define CLIENTS_MAX 256

struct arguments {
    const char *dir;
    const char *clients[CLIENTS_MAX];
    int client_count;
};

static int parse(struct arguments *a, int argc, char **argv)
{
    static const struct option options[] = {
            {"client", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(help, stdout);
            return -1;
        }
        if (option != 'c')
            return dp_usage("keygen", "unknown option");
        if (a->client_count == CLIENTS_MAX)
            return dp_usage("keygen", "more than %d clients at once", CLIENTS_MAX);
        a->clients[a->client_count++] = optarg;
    }
    if (optind + 1 != argc || argv[optind][0] == 0)
        return dp_usage("keygen", "expected one DIR");
    a->dir = argv[optind];
    return 0;
}

static void tell_folder(const char *dir)
{
    char absolute[PATH_MAX];
    printf("made %s\n"
           "  server.key   secret, for machines that run servers, with allowed/\n"
           "  client.key   secret, for machines that run workers, with server.pub\n"
           "use it: cluster.keys: %s\n",
            dir, realpath(dir, absolute) != NULL ? absolute : dir);
}

int dp_keygen(int argc, char **argv)
{
    struct arguments a = {0};
    int code = parse(&a, argc, argv);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    struct sl_error err = {0};
    enum sl_status status = SL_OK;
    if (a.client_count == 0 || access(a.dir, F_OK) != 0) {
        status = sl_keys_generate(a.dir, &err);
        if (status == SL_OK)
            tell_folder(a.dir);
    }
    for (int i = 0; i < a.client_count && status == SL_OK; i++) {
        status = sl_keys_add_client(a.dir, a.clients[i], &err);
        if (status == SL_OK)
            printf("made %s/clients/%s: copy it to that machine as its cluster.keys, client.key with mode "
                   "0600\n",
                    a.dir, a.clients[i]);
    }
    return status == SL_OK ? SL_OK : dp_fail("keygen", status, &err);
}
