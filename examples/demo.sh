#!/usr/bin/env bash
# A Session-Reflector on a loopback port of its own, measured with STAMP and with TWAMP Light; `make demo` runs this.
#
# Nothing needs a privilege and nothing is left running, also after a failure. Takes about ten seconds.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"
pictures=build/demo
mkdir -p "$pictures"

reflector=
stop_reflector() {
    [ -z "$reflector" ] || kill -TERM "$reflector" 2>/dev/null || true
}
trap stop_reflector EXIT

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# Shows a command as a person would type it, then runs it.
run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

step 'A Session-Reflector, which numbers its replies, on a free port'
printf '\n$ twoway reflector --listen 127.0.0.1:0 --stateful &\n'
# Its first line comes when it answers: reading it is all the waiting there is.
exec {says}< <(exec twoway reflector --listen 127.0.0.1:0 --stateful)
reflector=$!
read -r -t 30 line <&"$says" || { echo 'the reflector did not start' >&2; exit 1; }
echo "$line"
target=$(sed -n 's/^listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' <<<"$line")
[ -n "$target" ] || { echo 'the reflector did not say where it listens' >&2; exit 1; }

step 'STAMP, a line per packet'
run twoway ping -c 10 -i 100ms "$target"

step 'TWAMP Light, 1000 packets a second: a status line instead, then a histogram and a picture'
run twoway ping --protocol light -c 2000 -i 1ms --histogram --plot "$pictures/light.png" "$target"

step 'For scripts: JSON, and an exit code from a condition'
run twoway ping -q -c 100 -i 1ms --fail-if 'loss>1%' "$target" --json >"$pictures/result.json"
python3 - "$pictures/result.json" <<'PYTHON'
import json, sys
with open(sys.argv[1]) as file:
    result = json.load(file)
print(json.dumps({"type": result["type"], "schema": result["schema"], "packets": result["packets"]}, indent=2))
PYTHON

step 'What the reflector counted'
kill -TERM "$reflector"
cat <&"$says"
wait "$reflector"
reflector=
printf '\nThe picture is %s, the whole JSON document %s.\n' "$pictures/light.png" "$pictures/result.json"
