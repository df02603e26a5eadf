# shellcheck shell=bash
# What tools/test and tools/check-long share: parts that are run, counted and reported.
passed=0 failed=0 skipped=0
logs=build/test-logs
mkdir -p $logs

# part NAME COMMAND...: runs the command; counts what its last `N passed, N failed` line says, or one test.
part() {
    local name=$1 start=$SECONDS counts ok=1
    shift
    echo "== $name"
    "$@" >"$logs/$name.log" 2>&1 || ok=0
    counts=$(python3 tools/test-counts "$logs/$name.log" $ok)
    # shellcheck disable=SC2086 # three numbers
    set -- $counts
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    if [ "$2" -gt 0 ]; then
        tail -n 60 "$logs/$name.log"
    fi
    grep -h '^SKIPPED' "$logs/$name.log"
    echo "   $1 passed, $2 failed, $3 skipped ($((SECONDS - start)) s)"
}

# The closing line, and whether all went well.
parts_end() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
