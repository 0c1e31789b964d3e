/* `shelflife config`: checks a config and prints it resolved. */
#include "common/memory.h"
#include "deploy/command.h"

#include <getopt.h>
#include <stdio.h>

static const char help[] =
        "usage: shelflife config CONFIG [--set KEY=VALUE]...\n\n"
        "Checks a config whole and prints it with all defaults, as training would use it.\n\n"
        "  --set KEY=VALUE  override one value, such as optimiser.lr=3e-4 or modalities.text.layers=2\n\n"
        "example: shelflife config deploy/quickstart.yaml --set epochs=3\n";

int dp_config(int argc, char **argv)
{
    static const struct option options[] = {
            {"set", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    struct dp_overrides overrides = {0};
    struct sl_error err = {0};
    enum sl_status status = SL_OK;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1 && status == SL_OK;) {
        if (option == 'h') {
            fputs(help, stdout);
            return SL_OK;
        }
        if (option != 's')
            return dp_usage("config", "unknown option");
        status = dp_overrides_add(&overrides, optarg, &err);
    }
    if (status == SL_OK && optind + 1 != argc)
        return dp_usage("config", "expected one CONFIG");
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    SL_AUTO_FREE char *text = NULL;
    if (status == SL_OK)
        status = sl_config_load(&config, argv[optind], overrides.texts, overrides.count, &err);
    if (status == SL_OK)
        status = sl_config_dump(&text, config, &err);
    if (status != SL_OK)
        return dp_fail("config", status, &err);
    fputs(text, stdout);
    return SL_OK;
}
