#!/usr/bin/env bash
# A Session-Reflector on a loopback port of its own, measured with STAMP and with TWAMP Light, and a Server that negotiates
# an encrypted TWAMP session; `make demo` runs this.
#
# Nothing needs a privilege and nothing is left running, also after a failure. Takes about fifteen seconds.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"
pictures=build/demo
mkdir -p "$pictures"

reflector='' server='' secrets=''
stop_all() {
    for process in $reflector $server; do kill -TERM "$process" 2>/dev/null || true; done
    [ -z "$secrets" ] || rm -f "$secrets"
}
trap stop_all EXIT

bold='' plain=''
if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
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

step 'For scripts: a JSON document, and an exit code from a condition'
json=$pictures/result.json
printf "\n$ twoway ping -c 100 -i 1ms --json --fail-if 'loss>1%%' %s >%s\n" "$target" "$json"
twoway ping -c 100 -i 1ms --json --fail-if 'loss>1%' "$target" >"$json"
python - "$json" <<'PYTHON'
import json
import sys

with open(sys.argv[1]) as file:
    result = json.load(file)
for name in ("sent", "received", "lost_forward", "lost_backward"):
    print(f"packets.{name} = {result['packets'][name]}")
print(f"delay.round_trip.median_ns = {result['delay']['round_trip']['median_ns']}")
PYTHON

step 'What the reflector counted'
kill -TERM "$reflector"
cat <&"$says"
wait "$reflector"
reflector=''

step 'TWAMP in full: a Server with a shared secret, and a session negotiated and measured under encryption'
secrets=$(mktemp)
chmod 600 "$secrets"
printf 'demo text:%s\n' "$(head -c 18 /dev/urandom | base64)" >"$secrets"
printf '\n$ twoway server --listen 127.0.0.1:0 --key-file secrets &\n'
exec {says}< <(exec twoway server --listen 127.0.0.1:0 --key-file "$secrets")
server=$!
read -r -t 30 line <&"$says" || { echo 'the Server did not start' >&2; exit 1; }
echo "$line"
target=$(sed -n 's/^listening on .*\(127\.0\.0\.1:[0-9]*\).*/\1/p' <<<"$line")
[ -n "$target" ] || { echo 'the Server did not say where it listens' >&2; exit 1; }
printf '\n$ twoway ping --protocol twamp --mode encrypted --key-file secrets -c 20 -i 20ms %s\n' "$target"
twoway ping --protocol twamp --mode encrypted --key-file "$secrets" -c 20 -i 20ms "$target"
kill -TERM "$server"
wait "$server" || true
server=''
printf '\nThe picture is %s, the whole JSON document %s.\n' "$pictures/light.png" "$pictures/result.json"
