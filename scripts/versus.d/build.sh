# shellcheck shell=bash disable=SC2034
# Sourced by scripts/versus and scripts/curves, from the root of the repository: the binary that is measured.

# zweig_to_measure FILE RELEASE: sets `room`, a folder for the measurer; `zweig`, FILE or, if that is empty, what is built now, by the
# release profile if RELEASE is `yes`; and `built`, how.
zweig_to_measure() {
    local target_dir="${CARGO_TARGET_DIR:-target}" package binary options=()
    mkdir -p "$target_dir/versus"
    room="$(realpath "$target_dir/versus")"
    zweig="$1" built="a binary that was given"
    [ -z "$zweig" ] || return 0
    # What depends on none of our settings stays as it is built already, RocksDB above all.
    export CARGO_PROFILE_DEV_OPT_LEVEL=3
    for package in zweig zweig-proto zweig-client zweig-coordinator zweig-broker; do
        options+=(--config "profile.dev.package.$package.debug-assertions=false")
        options+=(--config "profile.dev.package.$package.overflow-checks=false")
    done
    built="dev profile at level 3"
    [ "$2" != yes ] || { options=(--release); built="release profile"; }
    echo "$(basename "$0"): building Zweig, optimised"
    binary="$(cargo build --quiet --workspace --bin zweig --message-format=json "${options[@]}" |
        sed -n 's/.*"kind":\["bin"\].*"name":"zweig".*"executable":"\([^"]*\)".*/\1/p' | tail -1)"
    # Other builds may follow while this one is measured.
    zweig="$room/zweig"
    cp --remove-destination "$binary" "$zweig"
}
