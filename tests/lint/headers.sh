#!/usr/bin/env bash
# Every header compiles alone and has #pragma once.
set -euo pipefail
cd "$1"
status=0
flags="-std=gnu17 -D_GNU_SOURCE -I. -I$2/generated -fsyntax-only -Wall -Werror -x c $(pkg-config --cflags cairo libavformat libavcodec libswscale)"
while read -r header; do
    if ! grep -q '^#pragma once' "$header"; then
        case $header in *_code.h) continue ;; esac # the body of a template, included on purpose more than once
        echo "$header: no #pragma once"
        status=1
    fi
    # shellcheck disable=SC2086
    if ! echo "#include \"$header\"" | gcc $flags - ; then
        echo "$header does not compile alone"
        status=1
    fi
done < <(find common worker ps deploy -name '*.h')
exit $status
