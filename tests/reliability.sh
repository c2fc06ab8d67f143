#!/usr/bin/env bash
# Runs the fault tests and writes docs/RELIABILITY.md. Without an argument one round, a few minutes;
# with a number of minutes, rounds with new seeds until the time is over. Ends with the first test
# that fails, and says what repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-0}
lines=$(mktemp)
log=$(mktemp)
trap 'rm -f "$lines" "$log"' EXIT
export STREAMWORK_REPORT=$lines
started=$SECONDS

binaries=(simulation kill endurance callbacks failing_disk bytes)

run() {
    local name=$1 since=$SECONDS
    shift
    if "$@" >"$log" 2>&1; then
        printf '   %-14s %4d s\n' "$name" $((SECONDS - since))
    else
        grep -v '^\(   Compiling\|warning\)' "$log" | tail -n 60
        echo "$name failed; the seed is printed above. What had passed is in docs/RELIABILITY.md."
        write_report "A run that ended with a failure in $name."
        exit 1
    fi
}

round() {
    for binary in "${binaries[@]}"; do
        run "$binary" cargo test --locked --release --test "$binary" -- --nocapture
    done
    run store-and-log cargo test --locked --release --test checkpoint_store --test event_log
    run acknowledger cargo test --locked --release --lib any_trees
    run schedules env RUSTFLAGS="--cfg streamwork_schedules" CARGO_TARGET_DIR=target/schedules \
        cargo test --locked --lib schedules
}

write_report() {
    local commit
    commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
    [[ -z $(git status --porcelain --untracked-files=no 2>/dev/null) ]] || commit="$commit and changes"
    STREAMWORK_REPORT_TO=$PWD/docs/RELIABILITY.md \
        STREAMWORK_REPORT_ABOUT="$1 $(date -u +%Y-%m-%d), commit $commit, $(nproc) cores, $(uname -s) $(uname -m), $(rustc --version | cut -d' ' -f1,2), $(((SECONDS - started) / 60)) minutes." \
        cargo test --locked --quiet --release --test reliability write_the_report -- --ignored >/dev/null
}

rounds=0
while ((rounds == 0 || SECONDS - started < minutes * 60)); do
    rounds=$((rounds + 1))
    echo "== round $rounds"
    round
done
run mutants cargo test --locked --test mutants -- --ignored --nocapture
write_report "$rounds rounds, all passed."
echo "docs/RELIABILITY.md is written: $rounds rounds in $((SECONDS - started)) s"
