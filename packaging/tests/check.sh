#!/usr/bin/env bash
# Looks at everything that is packaged without installing it: shell scripts, units, Dockerfile, compose.yaml, manifests. Each command and
# each setting in them is given to the binary, which has to understand it. Linters that are not here are named: NOT checked.
#
#   packaging/tests/check.sh [BINARY]
#
# The default is target/debug/zweig. Needs python3 with yaml (Debian's python3-yaml).
set -euo pipefail
cd "$(dirname "$0")/../.."
case "${1:-}" in -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
binary="${1:-${CARGO_TARGET_DIR:-target}/debug/zweig}"
[ -x "$binary" ] || { echo "check: $binary is not there: build it, or name one" >&2; exit 1; }
# have TOOL WHAT-IT-WOULD-CHECK
have() { command -v "$1" >/dev/null || { echo "there is no $1 here: $2 NOT checked"; return 1; }; }
room="$(mktemp -d)"
trap 'rm -rf "$room"' EXIT

if have shellcheck "shell scripts are"; then
    shellcheck scripts/package packaging/tests/*.sh packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm
fi
if have systemd-analyze "units are"; then
    # As they are installed, with the binary where it is here, and an instance of each template.
    mkdir "$room/units"
    cp -r packaging/systemd/. "$room/units"
    sed -i "s#^ExecStart=/usr/bin/zweig#ExecStart=$(realpath "$binary")#" "$room"/units/*.service
    for role in coordinator broker; do mv "$room/units/zweig-$role@.service" "$room/units/zweig-$role@1.service"; done
    SYSTEMD_UNIT_PATH="$room/units:" systemd-analyze verify --man=no "$room"/units/*.service
fi
if have hadolint "Dockerfile is by it"; then hadolint packaging/docker/Dockerfile; fi
if have kubernetes-validate "manifests against Kubernetes' schemas are"; then
    kubernetes-validate --strict --quiet packaging/kubernetes/{namespace,coordinators,brokers}.yaml
fi
python=python3
"$python" -c 'import yaml, tomllib' 2>/dev/null || python=/usr/bin/python3
if "$python" -c 'import yaml, tomllib' 2>/dev/null; then
    "$python" -B packaging/tests/check.py "$binary" "$room"
else
    echo "python3 has no yaml here: what the binary says of units, compose.yaml and manifests is NOT checked"
    exit 0
fi
echo "check: the binary understands all that is packaged"
