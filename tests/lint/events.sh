#!/usr/bin/env bash
# docs/operations.md says of every event that the program can log or publish what it means and what to do.
set -euo pipefail
cd "$1"
name='[a-z]+(-[a-z]+)*'
# sl_log(level, "module", "event", …), and the helpers that take the event next to the level; a choice of two events is `x ? "one" : "other"`.
found=$(find common worker ps deploy -name '*.c' -print0 | xargs -0 cat | tr '\n' ' ' |
    grep -oE "\b(sl_log\([^;\"]*, *\"[a-z]+\"|(note_event|log_names)\([^;\"]*), *([^\",;]*\? )?\"$name\"( *: *\"$name\")?" |
    sed -E 's/^sl_log\([^"]*"[a-z]+"//' | grep -oE "\"$name\"" | tr -d '"' | sort -u)
count=$(wc -l <<<"$found")
[ "$count" -ge 40 ] || { echo "only $count events are found in the sources: this check looks for them in the wrong way"; exit 1; }
status=0
for event in $found; do
    grep -E '^\|' docs/operations.md | cut -d '|' -f 2 | grep -qF "\`$event\`" || {
        echo "docs/operations.md has no row for the event $event"
        status=1
    }
done
exit $status
