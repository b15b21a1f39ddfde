#!/usr/bin/env bash
# What neither rustfmt nor clippy can say: file length, layers, module headers, clock bans that carry no reason.
# Prints each finding as FILE: what is wrong; exits 1 if there is any.
set -uo pipefail
cd "$(dirname "$0")/.."
found=0
bad() { printf '%s\n' "$*"; found=1; }
sources() { git ls-files --cached --others --exclude-standard -- "$@"; }
# The lines of a file before its tests.
body() { awk '/^#\[cfg\(test\)\]/{exit} {print}' "$1"; }

# 1. At most 500 lines per file, its tests left out.
while read -r file; do
    case "$file" in */tests.rs | */tests/*) continue ;; esac
    lines=$(body "$file" | wc -l)
    [ "$lines" -le 500 ] || bad "$file: $lines lines; split it (500 at most, tests left out)"
done < <(sources '*.rs')

# 2. Who may use whom. forbid FOLDER PATTERN WHY
forbid() {
    while read -r file; do
        case "$file" in */tests.rs | */tests/*) continue ;; esac
        if hit=$(body "$file" | grep -nE "$2" | head -n 1) && [ -n "$hit" ]; then
            bad "$file:${hit%%:*}: $3"
        fi
    done < <(sources "$1")
}
io='tokio::|std::net|std::fs|rocksdb::|tonic::|std::thread|std::time::(Instant|SystemTime)|parking_lot::|rand::'
for room in coordinator/src/{tree,session,watch,state_machine}; do
    forbid "$room/*.rs" "$io" "pure room: no async, socket, file, store, clock or chance"
    forbid "$room/*.rs" 'crate::(consensus|request|wire|server)' "uses a higher room"
done
for room in broker/src/{controller,group,replica,metadata}; do
    while read -r file; do
        case "$file" in
            broker/src/controller/drive/* | broker/src/replica/hosted/* | broker/src/metadata/cache.rs | */tests.rs | */tests/*) continue ;;
        esac
        hit=$(body "$file" | grep -nE "$io" | head -n 1)
        [ -z "$hit" ] || bad "$file:${hit%%:*}: pure room: no async, socket, file, clock or chance"
        hit=$(body "$file" | grep -nE 'crate::(net|handlers|server|purgatory|ensemble|shard)' | head -n 1)
        [ -z "$hit" ] || bad "$file:${hit%%:*}: uses a higher room"
    done < <(sources "$room/*.rs")
done
forbid 'broker/src/log/*.rs' 'tokio::|tonic::' "the log is synchronous"
forbid 'broker/src/log/*.rs' 'crate::(net|handlers|server|purgatory|ensemble|shard|replica|controller|group)' "uses a higher room"
forbid 'coordinator/src/storage/*.rs' 'crate::(request|wire|server)' "uses a higher room"
forbid 'coordinator/src/consensus/*.rs' 'crate::(wire|server)' "uses a higher room"
forbid 'broker/src/*.rs' 'zweig_coordinator|zweig_proto' "a broker reaches the ensemble only through zweig-client"
forbid 'coordinator/src/*.rs' 'zweig_broker|zweig_client' "the ensemble knows no broker and no client"
forbid 'client/src/*.rs' 'zweig_coordinator|zweig_broker' "the client knows only the wire"
forbid 'monitoring/src/*.rs' 'zweig_' "it counts and tells, and knows nobody"
for package in proto monitoring coordinator broker client; do
    forbid "$package/src/*.rs" 'anyhow::' "anyhow is for client/cli alone"
done

# 3. Each room says what it is.
while read -r file; do
    head -n 3 "$file" | grep -q '^//!' || bad "$file: begins without a module header (//!)"
done < <(sources '*/mod.rs' '*/lib.rs' '*/main.rs')

# 4. Banned names of folders and files; switched-off tests; allows without a reason.
while read -r file; do
    bad "$file: a name that says nothing (utils, helpers, common, misc)"
done < <(sources '*.rs' | grep -E '(^|/)(utils?|helpers?|common|misc|impls?)(\.rs|/)')
while read -r hit; do
    bad "${hit%%:*}: #[ignore] without a reason"
done < <(git grep -nE '#\[ignore\]' -- '*.rs')
while read -r hit; do
    bad "$hit: an allow of a banned method must give its reason"
done < <(git grep -nE 'allow\(clippy::disallowed_methods\)|expect\(clippy::disallowed_methods\)' -- '*.rs' | cut -d: -f1,2)

[ "$found" = 0 ] && echo "tidy: clean"
exit "$found"
