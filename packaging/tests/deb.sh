#!/usr/bin/env bash
# Builds the Debian package of a binary, installs it over a copy of this machine's files that forgets everything (an overlay in memory, with
# processes and a network of its own), runs both services from the installed files, and removes the package again.
#
#   packaging/tests/deb.sh [--lintian] [BINARY]
#
# The default is target/debug/zweig; --lintian holds the package against Debian's policy too (20 s). What can't be had on this machine is said: NOT checked. Needs root and Debian.
set -euo pipefail
cd "$(dirname "$0")/../.."

# --- Inside: process 1 of its own namespaces, the overlay is at $1, the package at $1/package.deb.
inside() {
    local root="$1"
    mount -t proc proc "$root/proc"
    ip link set lo up
    run() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
    fail() { printf 'deb: %s\n' "$*" >&2; tail -n 20 "$root"/*.log >&2 2>/dev/null || true; exit 1; }
    # until_true SECONDS WHAT COMMAND ..
    until_true() {
        local deadline=$((SECONDS + $1)) what="$2"
        shift 2
        until "$@" >/dev/null 2>&1; do
            [ "$SECONDS" -lt "$deadline" ] || fail "in time there was no $what"
            sleep 0.2
        done
    }
    # start ROLE: what the unit's ExecStart says, as the unit's user.
    start() {
        local command
        command="$(sed -n 's/^ExecStart=//p' "$root/lib/systemd/system/zweig-$1.service")"
        [ -n "$command" ] || fail "no ExecStart of $1"
        # Not by `run`: the process itself is to be this shell's child, which waits for its exit code.
        # shellcheck disable=SC2086
        chroot "$root" setpriv --reuid zweig --regid zweig --clear-groups --no-new-privs $command >"$root/$1.log" 2>&1 &
    }
    # A zombie has ended too. (Called by until_true.)
    # shellcheck disable=SC2317
    ended() { ! grep -q '^State:[[:space:]][^Z]' "$root/proc/$1/status" 2>/dev/null; }
    # stop PID ROLE
    stop() {
        local code=0
        kill -TERM "$1"
        until_true 120 "end of the $2" ended "$1"
        wait "$1" || code=$?
        [ "$code" = 0 ] || fail "the $2 ended with $code"
    }
    # Nothing of an earlier installation on this machine.
    run dpkg --no-triggers --purge zweig >/dev/null 2>&1 || true
    rm -rf "$root/var/lib/zweig" "$root/etc/zweig"

    run dpkg --no-triggers --install /package.deb >"$root/dpkg.log" 2>&1 || fail "dpkg can't install it"
    run getent passwd zweig >/dev/null || fail "there is no user zweig"
    [ "$(run stat -c '%U:%G %a' /var/lib/zweig/broker)" = "zweig:zweig 750" ] || fail "/var/lib/zweig/broker is not zweig's"
    [ -z "$(find "$root/etc/systemd/system" -name 'zweig*')" ] || fail "a service was enabled"
    run man --where zweig-topic-create >/dev/null 2>&1 || run test -s /usr/share/man/man1/zweig-topic-create.1.gz || fail "no man pages"

    start coordinator
    local coordinator=$!
    until_true 90 "coordinator" run zweig ls / --timeout 1
    start broker
    local broker=$!
    until_true 90 "broker" run zweig topic list --timeout 1
    run zweig topic create parcels --partitions 3 >/dev/null || fail "no topic is made"
    echo "packed by dpkg" | run zweig produce parcels --quiet || fail "no record is taken"
    local read
    read="$(run zweig consume parcels --group readers --from earliest --exit-at-end --timeout 20)" || fail "no record is read"
    [ "$read" = "packed by dpkg" ] || fail "what was read is: $read"
    stop "$broker" broker
    stop "$coordinator" coordinator

    # Somebody's settings survive the same package once more.
    echo "log.retention.hours=1" >>"$root/etc/zweig/broker.properties"
    run dpkg --no-triggers --install /package.deb >"$root/dpkg.log" 2>&1 || fail "dpkg can't install it a second time"
    grep -q '^log.retention.hours=1$' "$root/etc/zweig/broker.properties" || fail "settings were lost"

    local log="$root/var/lib/zweig/broker"
    run dpkg --no-triggers --remove zweig >"$root/dpkg.log" 2>&1 || fail "dpkg can't remove it"
    [ ! -e "$root/usr/bin/zweig" ] || fail "the program is still there"
    [ -e "$root/etc/zweig/broker.properties" ] || fail "a removal took the settings"
    grep -q "packed by dpkg" "$log"/parcels-*/00000000000000000000.log || fail "a removal took the data"
    run dpkg --no-triggers --purge zweig >"$root/dpkg.log" 2>&1 || fail "dpkg can't purge it"
    [ ! -e "$root/etc/zweig" ] || fail "a purge left settings"
    grep -q "packed by dpkg" "$log"/parcels-*/00000000000000000000.log || fail "a purge took the data"
    run dpkg --no-triggers --install /package.deb >"$root/dpkg.log" 2>&1 || fail "dpkg can't install it after a purge"
    run ZWEIG_PURGE_DATA=yes dpkg --no-triggers --purge zweig >"$root/dpkg.log" 2>&1 || fail "dpkg can't purge it with data"
    [ ! -e "$root/var/lib/zweig" ] || fail "a purge that was to take the data left them"
}

if [ "${1:-}" = --inside ]; then
    inside "$2"
    exit
fi

lintian=no
case "${1:-}" in
    --lintian) lintian=yes; shift ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
binary="${1:-${CARGO_TARGET_DIR:-target}/debug/zweig}"
not_checked() { printf 'the Debian package: %s: NOT checked\n' "$*"; exit 0; }
[ -x "$binary" ] || { echo "deb: $binary is not there: build it, or name one" >&2; exit 1; }
for tool in dpkg-deb dpkg-shlibdeps unshare setpriv ip; do
    command -v "$tool" >/dev/null || not_checked "there is no $tool here"
done
# By its own copy: a build that goes on may replace it.
room="$(mktemp -d)"
trap 'rm -rf "$room"' EXIT
cp "$binary" "$room/zweig"
scripts/package --binary "$room/zweig" --out "$room" --fast
if [ "$lintian" = yes ]; then
    if command -v lintian >/dev/null; then lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$room"/*.deb
    else echo "there is no lintian here: policy is NOT checked"
    fi
fi
[ "$(id -u)" = 0 ] || not_checked "installing it needs root"
# The upper side is in memory: an overlay can't lie upon another, as it would in a container.
mkdir "$room/upper" "$room/root"
# shellcheck disable=SC2016
if ! unshare --mount sh -c 'mount -t tmpfs tmpfs "$1/upper" && mkdir "$1/upper/u" "$1/upper/w" &&
    mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper/u,workdir=$1/upper/w" "$1/root"' - "$room" 2>/dev/null; then
    not_checked "installing it needs mounts of its own, which are forbidden here"
fi
unshare --net true 2>/dev/null || not_checked "installing it needs a network of its own, which is forbidden here"
# shellcheck disable=SC2016
unshare --mount --net --pid --fork --kill-child sh -euc '
    mount -t tmpfs -o size=4g tmpfs "$1/upper"
    mkdir "$1/upper/u" "$1/upper/w"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper/u,workdir=$1/upper/w" "$1/root"
    mount --rbind /dev "$1/root/dev"
    cp "$1"/*.deb "$1/root/package.deb"
    exec bash "$2" --inside "$1/root"' - "$room" "$(realpath "$0")"
echo "deb: installed, run, removed; its data stayed"
