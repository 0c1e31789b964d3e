#!/usr/bin/env bash
# clang-format would change nothing.
set -euo pipefail
cd "$1"
if ! command -v clang-format-14 >/dev/null; then
    echo "skipped: clang-format-14 is not installed"
    exit 77
fi
find common worker ps deploy tests -name '*.[ch]' -print0 | xargs -0 clang-format-14 --dry-run --Werror
