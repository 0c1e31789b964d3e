#!/usr/bin/env bash
# The dashboard's gateway, asked by hand and by hostile clients: tests/e2e/dashboard/test_gateway.py.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
python=/usr/bin/python3 # Debian's: the modules are packages
"$python" -c 'import zmq, google.protobuf' 2>/dev/null && command -v protoc promtool >/dev/null || {
    echo "skipped: python3-zmq, python3-protobuf, protobuf-compiler or prometheus is not installed"
    exit 77
}
cd "$(dirname "$0")/dashboard"
PYTHONDONTWRITEBYTECODE=1 "$python" -W error::ResourceWarning test_gateway.py
