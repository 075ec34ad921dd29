#!/bin/sh
# Tries every target for ten minutes (or for as many seconds as the first argument says), beginning with what earlier
# ones found, and keeps what reaches something new. A crash ends it; what crashed is in fuzz/artifacts.
set -eu
cd "$(dirname "$0")"
seconds=${1:-600}
tools=$(pwd)/../target/tools
[ -x "$tools/bin/cargo-fuzz" ] || cargo install --quiet --locked --root "$tools" --version 0.13.2 cargo-fuzz
PATH=$tools/bin:$PATH
# The instrumentation is not in stable Rust; the stable compiler has it all the same.
export RUSTC_BOOTSTRAP=1
cargo fuzz build

for target in playbook api host journal vault; do
    work=target/corpus/$target
    rm -rf "$work" "$work.kept"
    mkdir -p "$work" "$work.kept" "artifacts/$target"
    cp corpus/"$target"/* "$work"
    [ ! -e "found/$target.tar.gz" ] || tar -xzf "found/$target.tar.gz" -C "$work"
    cargo fuzz run "$target" "$work" -- -max_total_time="$seconds" -timeout=30 -max_len=16384 -print_final_stats=1
    cargo fuzz run "$target" "$work.kept" "$work" -- -set_cover_merge=1
    mkdir -p found
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work.kept" -cf - . | gzip -9n >"found/$target.tar.gz"
done
