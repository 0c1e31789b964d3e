#!/usr/bin/env bash
# common knows nobody, ps and worker do not know each other, only deploy and tests know all; the cores and the arithmetic touch neither sockets nor
# files nor clocks nor threads.
set -euo pipefail
cd "$1"
status=0

refuse() { # files, pattern, why
    local found
    found=$(grep -nE "$2" $1 /dev/null || true)
    if [ -n "$found" ]; then
        echo "$found"
        echo "  ^ $3"
        status=1
    fi
}

sources() {
    find "$@" -name '*.[ch]' | tr '\n' ' '
}

refuse "$(sources common)" '#include "(worker|ps|deploy)/' 'common knows neither worker nor ps nor deploy'
refuse "$(sources worker)" '#include "(ps|deploy)/' 'worker knows neither ps nor deploy'
refuse "$(sources ps)" '#include "(worker|deploy)/' 'ps knows neither worker nor deploy'
pure="worker/core.c ps/coordinator.c ps/server.c ps/reduction.c ps/table.c ps/modulation.c ps/balance.c ps/schedule.c ps/optimiser.c common/tree.c common/coefficient.c"
refuse "$pure" '#include <(zmq|lmdb|pthread|fcntl|unistd|time|sys/.*)\.h>|#include "common/(clock|file|transport|log)\.h"' 'a core has no socket, clock, thread or file'
refuse "$(sources worker/model)" '\b(fopen|printf|zmq_|pthread_mutex|clock_gettime)\b *\(' 'a kernel does no I/O, takes no lock and reads no clock'
own=$(find common worker ps deploy -name '*.[ch]' | grep -vE '^(common/memory\.c|worker/decode/|deploy/sample/)' | tr '\n' ' ')
refuse "$own" '(^|[^_a-z>.])(malloc|calloc|realloc|strdup|strcpy|strcat|sprintf|atoi) *\(' 'use common/memory.h and the bounded functions'
exit $status
