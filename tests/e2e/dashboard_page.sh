#!/usr/bin/env bash
# The dashboard's page in headless Chromium: tests/e2e/dashboard/test_page.py.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
python=/usr/bin/python3 # Debian's: the modules are packages
"$python" -c 'import zmq, google.protobuf, selenium' 2>/dev/null && command -v protoc chromium chromedriver >/dev/null || {
    echo "skipped: chromium, chromium-driver, python3-selenium, python3-zmq, python3-protobuf or protobuf-compiler is not installed"
    exit 77
}
cd "$(dirname "$0")/dashboard"
export HOME=$dir TMPDIR=$dir # Chromium's files too
PYTHONDONTWRITEBYTECODE=1 "$python" test_page.py
