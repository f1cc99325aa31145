#!/usr/bin/env bash
# Runs ivmq_bench and draws what it found. Usage: bench/report.sh [--json FILE | ARGUMENT...]
# --json: draws the figures of an earlier run; arguments go to ivmq_bench. ./dev bench report builds first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=docs/benchmarks
mkdir -p "$out"
if [ "${1:-}" = --json ]; then
  json=$2
  echo "Drawing $json"
else
  json=$out/figures.json
  "${IVMQ_BUILD_DIR:-build/release}/bench/ivmq_bench" --json "$json" "$@" | tee "$out/tables.md"
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# series SUITE FILTER: the names of a suite's candidates, in its order.
series() {
  jq -r --arg suite "$1" \
    "[.figures[] | select(.suite == \$suite and ($2)) | .candidate] | reduce .[] as \$n ([]; if index(\$n) then . else . + [\$n] end) | .[]" \
    "$json"
}

# draw FILE SUITE FILTER X Y TITLE XLABEL YLABEL [GNUPLOT...]: a line a candidate.
draw() {
  local file=$1 suite=$2 filter=$3 x=$4 y=$5 title=$6 xlabel=$7 ylabel=$8 name i=0 plot=""
  shift 8
  while IFS= read -r name; do
    i=$((i + 1))
    jq -r --arg suite "$suite" --arg name "$name" \
      ".figures[] | select(.suite == \$suite and .candidate == \$name and ($filter)) | [.$x, .$y] | @tsv" \
      "$json" >"$scratch/$file-$i"
    plot+="${plot:+, }'$scratch/$file-$i' using 1:2 with linespoints title '$name'"
  done < <(series "$suite" "$filter")
  if [ -z "$plot" ]; then
    echo "No figures for $title"
    return
  fi
  {
    echo "set terminal svg size 960,600 dynamic background rgb 'white' noenhanced font 'sans-serif,13'"
    echo "set output '$out/$file.svg'"
    printf 'set title "%s\\n%s"\n' "$title" \
      "$(jq -r '"\(.processor), \(.cores) cores, the pair \(.pair); \(.kernel); \(.date)"' "$json")"
    echo "set key outside right top; set grid; set logscale y"
    echo "set xlabel '$xlabel'; set ylabel '$ylabel'"
    printf '%s\n' "$@"
    echo "plot $plot"
  } | gnuplot
  echo "$out/$file.svg"
}

sizes=("set logscale x 2" "set xtics ('8' 8, '64' 64, '1 Ki' 1024, '16 Ki' 16384, '128 Ki' 131072, '1 Mi' 1048576, '16 Mi' 16777216)")
draw round-trip-by-size roundtrip true bytes p50_us "Round trip, both polling, median" \
  "bytes of a message" "microseconds" "${sizes[@]}"
draw rate-by-size rate true bytes bytes_per_second "One way, as fast as it goes" \
  "bytes of a message" "bytes a second" "${sizes[@]}" "set format y '%.0s %cB'"
draw latency-by-load load true percent p99_us "Latency under load, 64 bytes, one way, p99" \
  "percent of the highest rate of the candidate" "microseconds"
draw cost-by-receivers receivers '.bytes == 16384' receivers us_per_receiver \
  "Each message to all of several receivers that sleep, 16 KiB" "receivers" \
  "microseconds a message and receiver" "set logscale x 2"

{
  echo "# Benchmarks"
  echo
  echo "Drawn by \`./dev bench report\` from [figures.json](figures.json). Compare ratios: other programs ran on the machine, or may have."
  echo
  jq -r '"- processor: \(.processor), \(.cores) cores; the pair \(.pair)\n- kernel: \(.kernel); compiler: \(.compiler)\n- date: \(.date); command: `\(.command)`"' "$json"
  for file in round-trip-by-size rate-by-size latency-by-load cost-by-receivers; do
    [ ! -e "$out/$file.svg" ] || printf '\n![%s](%s.svg)\n' "${file//-/ }" "$file"
  done
} >"$out/README.md"
echo "$out/README.md"
