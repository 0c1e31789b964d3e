/* shelflife sample: hands over to shelflife-sample, the program that draws and encodes the clips. It is one of its own because it links the
 * encoders and the drawing library, which nothing else needs; it has its own --help. */
#include "common/error.h"
#include "deploy/command.h"

#include <unistd.h>

int dp_sample(int argc, char **argv)
{
    (void)argc;
    struct sl_error err = {0};
    char path[SL_PATH_MAX];
    enum sl_status s = dp_sibling(path, "shelflife-sample", &err);
    if (s == SL_OK) {
        execv(path, argv);
        s = sl_fail_errno(&err, "cannot run %s", path);
    }
    return dp_fail("sample", s, &err);
}
