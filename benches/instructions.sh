#!/usr/bin/env bash
# Instructions per event, of each piece and of W1, W2 and W3, as callgrind counts them: a regression
# shows here also on a machine that is too busy for a clock. The counts of a process that does twice
# as much are taken, less those of one that does half of it, so that start and end do not count.
#
#   benches/instructions.sh              # all, as the table in benches/README.md
#   benches/instructions.sh pieces       # without the workloads, which take longer to build
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-all}
[[ $what == all || $what == pieces ]] || { echo "usage: $0 [pieces]" >&2; exit 2; }

if ! command -v valgrind >/dev/null; then
    echo "$0: valgrind is missing. Install the package \"valgrind\" of your distribution" >&2
    echo "(Debian, Ubuntu: apt-get install valgrind; Fedora: dnf install valgrind)." >&2
    exit 1
fi

# Events that the smaller process of a pair handles, about.
events_of_a_piece=200000
events_of_a_workload=1000000

# The instructions of a whole process.
counted() {
    local said
    if ! said=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1); then
        printf '%s\n' "$said" >&2
        return 1
    fi
    awk '/Collected : / { print $NF }' <<<"$said"
}

# A row: a name, events in a round, rounds, and a command that takes the rounds as its last argument.
row() {
    local name=$1 each=$2 rounds=$3 less more
    shift 3
    less=$(counted "$@" "$rounds")
    more=$(counted "$@" "$((2 * rounds))")
    awk -v name="$name" -v n="$((more - less))" -v events="$((rounds * each))" \
        'BEGIN { printf "| %s | %.1f |\n", name, n / events }'
}

# Where cargo put the program that it was asked to build.
pieces=$(cargo bench --locked --bench instructions --no-run 2>&1 |
    tee /dev/stderr | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
if [[ $what == all ]]; then
    (cd benches/workloads && cargo build --locked --release)
    workloads=${CARGO_TARGET_DIR:-benches/workloads/target}/release/streamwork-workloads
fi

echo "| what | instructions per event |"
echo "|---|---|"
while IFS=$'\t' read -r each name; do
    row "$name" "$each" "$((events_of_a_piece / each))" "$pieces" "$name"
done < <("$pieces")
if [[ $what == all ]]; then
    while IFS=, read -r workload contestant; do
        row "$workload, $contestant" 1 "$events_of_a_workload" \
            "$workloads" --child "$workload" --contestant "$contestant" --events
    done <<'END'
W1-1,ours
W1-1,hand-written loop
W2,ours
W2,hand-written
W3-100k,ours
W3-100k,hand-written
END
fi
