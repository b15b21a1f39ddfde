#!/usr/bin/env bash
# Boots systemd in a container over this machine's files (systemd-nspawn, an overlay in memory, no network), installs the package there and
# has systemd itself run the services with all that hardens them: starts, a kill, a wrong configuration, an instance, stops, removal.
#
#   packaging/tests/systemd.sh [BINARY]
#
# The default is target/debug/zweig. What can't be had on this machine is said: NOT checked. Needs root, Debian and systemd-container.
set -euo pipefail
cd "$(dirname "$0")/../.."

# --- Inside: the one service of the container's target.
inside() {
    fail() { printf 'systemd: %s\n' "$*"; systemctl status --no-pager --lines 15 'zweig*' 2>&1 || true; exit 1; }
    # until_true SECONDS WHAT COMMAND ..
    until_true() {
        local deadline=$((SECONDS + $1)) what="$2"
        shift 2
        until "$@" >/dev/null 2>&1; do
            [ "$SECONDS" -lt "$deadline" ] || fail "in time there was no $what"
            sleep 0.2
        done
    }
    is() { [ "$(systemctl show --value --property "$2" "$1")" = "$3" ]; }
    expect() { is "$@" || fail "$1 has $2=$(systemctl show --value --property "$2" "$1"), not $3"; }
    export ZWEIG_TIMEOUT=20

    dpkg --purge zweig >/dev/null 2>&1 || true
    rm -rf /var/lib/zweig /etc/zweig
    dpkg --no-triggers --install /package.deb || fail "dpkg can't install it"
    expect zweig-broker.service ActiveState inactive
    expect zweig-broker.service UnitFileState disabled

    systemctl enable --now zweig-coordinator.service zweig-broker.service || fail "they don't start"
    until_true 90 "broker" zweig topic list --timeout 1
    zweig topic create parcels || fail "no topic is made"
    echo "carried by systemd" | zweig produce parcels --quiet || fail "no record is taken"
    [ "$(zweig consume parcels --from earliest --exit-at-end)" = "carried by systemd" ] || fail "no record is read"
    [ "$(id -un "$(stat -c %u /proc/"$(systemctl show --value --property MainPID zweig-broker)")")" = zweig ] || fail "it is not zweig's"
    journalctl --boot --unit zweig-broker --unit zweig-coordinator | grep -E 'WARN|ERROR' | grep -v 'not synced' && fail "warnings"

    # A broker that was killed is back by itself, with the record.
    systemctl kill --signal KILL zweig-broker.service
    until_true 90 "restart" is zweig-broker.service NRestarts 1
    until_true 90 "broker after a kill" zweig topic list --timeout 1
    [ "$(zweig consume parcels --from earliest --exit-at-end)" = "carried by systemd" ] || fail "the record is gone"

    # A second one on the same machine.
    sed -e 's/^broker.id=1/broker.id=2/' -e 's/:9092/:9093/' -e 's#/broker$#/broker-2#' /etc/zweig/broker.properties >/etc/zweig/broker-2.properties
    systemctl start zweig-broker@2.service
    until_true 90 "second broker" zweig topic list --timeout 1 --bootstrap 127.0.0.1:9093
    [ "$(zweig broker list --output json | grep -o '9093' | head -n 1)" = 9093 ] || fail "the second broker is not in the list"

    # Stopped in good order, and soon; then its configuration is wrong: it is not started again and again.
    local before=$SECONDS
    systemctl stop zweig-broker.service zweig-broker@2.service
    expect zweig-broker.service Result success
    expect zweig-broker.service ExecMainStatus 0
    [ $((SECONDS - before)) -lt 120 ] || fail "the brokers stop slowly"
    echo "num.partitions=none" >>/etc/zweig/broker.properties
    systemctl start zweig-broker.service || true
    until_true 60 "failure" is zweig-broker.service ActiveState failed
    expect zweig-broker.service ExecMainStatus 2
    expect zweig-broker.service NRestarts 0

    dpkg --no-triggers --remove zweig || fail "dpkg can't remove it"
    expect zweig-coordinator.service ActiveState inactive
    [ -d /var/lib/zweig/broker/parcels-0 ] || fail "a removal took the data"
    touch /passed
}

if [ "${1:-}" = --inside ]; then
    inside
    exit
fi
case "${1:-}" in -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

binary="${1:-${CARGO_TARGET_DIR:-target}/debug/zweig}"
not_checked() { printf 'services under systemd: %s: NOT checked\n' "$*"; exit 0; }
[ -x "$binary" ] || { echo "systemd: $binary is not there: build it, or name one" >&2; exit 1; }
[ "$(id -u)" = 0 ] || not_checked "that needs root"
for tool in dpkg-deb dpkg-shlibdeps unshare systemd-nspawn systemctl; do
    command -v "$tool" >/dev/null || not_checked "there is no $tool here"
done
unshare --mount --net --pid --fork true 2>/dev/null || not_checked "that needs namespaces, which are forbidden here"
room="$(mktemp -d)"
trap 'rm -rf "$room"' EXIT
cp "$binary" "$room/zweig"
scripts/package --binary "$room/zweig" --out "$room" --fast
mkdir "$room/upper" "$room/root"
# All of it ends with this process, and no mount is left. The console's text is kept for the case that nothing else is said.
# shellcheck disable=SC2016
unshare --mount --pid --fork --kill-child --mount-proc bash -euc '
    room="$1" root="$1/root"
    mount -t tmpfs -o size=4g tmpfs "$room/upper"
    mkdir "$room/upper/u" "$room/upper/w"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$room/upper/u,workdir=$room/upper/w" "$root"
    cp "$room"/*.deb "$root/package.deb"
    cp "$2" "$root/test.sh"
    rm -f "$root/etc/machine-id"
    # There is no network to wait for.
    ln -sf /dev/null "$root/etc/systemd/system/systemd-networkd-wait-online.service"
    printf "%s\n" "[Unit]" "Requires=basic.target" "After=basic.target dbus.socket" "[Service]" "Type=oneshot" "StandardOutput=file:/told" \
        "StandardError=file:/told" "WorkingDirectory=/" "ExecStart=/bin/bash /test.sh --inside" "ExecStopPost=/bin/systemctl --force --force poweroff" \
        >"$root/etc/systemd/system/zweig-test.service"
    timeout --kill-after 5 400 systemd-nspawn --quiet --register=no --keep-unit --private-network --directory "$root" --boot --console=pipe \
        systemd.unit=zweig-test.service </dev/null >"$room/console" 2>&1 || true
    cp "$root/told" "$room/told" 2>/dev/null || true
    [ -e "$root/passed" ] && touch "$room/passed" || true' - "$room" "$(realpath "$0")"
if [ -e "$room/passed" ]; then
    echo "systemd: the services ran and ended as they should"
elif [ -e "$room/told" ]; then
    cat "$room/told"
    exit 1
else
    tail -n 5 "$room/console"
    not_checked "systemd does not boot in a container here"
fi
