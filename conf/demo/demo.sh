#!/bin/bash
# demo.sh GATEWAY SERVICES: the gateway before the reference services, shown step by step. State is under .demo/.
#
#   ONCE=1 demo.sh ...    ends everything at the end, and exits non-zero if any step was not as expected
#   demo.sh --dev ...     no steps: both run until Ctrl-C
#   demo.sh --stop        ends what an earlier run left running
#   PORT=8443             where the gateway listens; ONCE=1 takes any free port
#
# Only processes that this script started are ended, by their ids.
set -euo pipefail
cd "$(dirname "$0")/../.."

state=.demo
pids=$state/pids
failures=0

# --- processes -------------------------------------------------------------------------------------------------------

# The program of a process, to be sure that an id was not given to another since.
program_of() { readlink "/proc/$1/exe" 2>/dev/null || true; }

stop_all() {
    [ -f "$pids" ] || return 0
    local pid program
    while read -r pid program; do
        [ "$(program_of "$pid")" = "$program" ] && kill -TERM "$pid" 2>/dev/null || true
    done < <(tac "$pids")
    while read -r pid program; do
        for _ in $(seq 150); do
            [ "$(program_of "$pid")" = "$program" ] || continue 2
            sleep 0.1
        done
        echo "Process $pid ($program) did not end in 15 s and is killed." >&2
        kill -KILL "$pid" 2>/dev/null || true
        failures=$((failures + 1))
    done <"$pids"
    rm -f "$pids"
}

# start NAME COMMAND...: in the background, its output and errors in files of that name.
start() {
    local name=$1
    shift
    setsid "$@" >"$state/$name.out" 2>"$state/$name.err" </dev/null &
    local pid=$! program
    program=$(readlink -f "$1")
    for _ in $(seq 100); do
        [ "$(program_of "$pid")" = "$program" ] && break
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    echo "$pid $(program_of "$pid")" >>"$pids"
    started=$pid
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local seconds=$1 what=$2
    shift 2
    for _ in $(seq $((seconds * 10))); do
        if "$@"; then return 0; fi
        kill -0 "$started" 2>/dev/null || break
        sleep 0.1
    done
    echo "$what: nothing came in $seconds s, or the process ended:" >&2
    tail -n 15 "$state"/*.err >&2
    exit 1
}

# member FILE NAME: a member of a JSON object; nothing when there is none.
member() {
    python3 -c 'import json, sys
try: print(json.load(open(sys.argv[1])).get(sys.argv[2], ""))
except (ValueError, OSError, AttributeError): pass' "$1" "$2"
}

# listening FILE KEY NAME MEMBER: a member of the `listening` event whose KEY is NAME.
listening() {
    python3 -c 'import json, sys
file, key, name, member = sys.argv[1:]
for line in open(file):
    try: event = json.loads(line)
    except ValueError: continue
    if event.get("event") == "listening" and event.get(key) == name:
        print(event[member]); sys.exit(0)
sys.exit(1)' "$@" 2>/dev/null
}

# --- certificates and configuration ----------------------------------------------------------------------------------

make_certificates() {
    local tls=$state/tls
    [ -f "$tls/api.crt" ] && openssl x509 -checkend 86400 -noout -in "$tls/api.crt" >/dev/null && return
    mkdir -p "$tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=Gatehouse demo CA' \
        -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout "$tls/ca.key" -out "$tls/ca.crt" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=localhost' \
        -keyout "$tls/api.key" -out "$tls/api.csr" 2>/dev/null
    openssl x509 -req -in "$tls/api.csr" -CA "$tls/ca.crt" -CAkey "$tls/ca.key" -CAcreateserial -days 30 \
        -extfile <(echo 'subjectAltName=DNS:localhost,IP:127.0.0.1') -out "$tls/api.crt" 2>/dev/null
    chmod 600 "$tls"/*.key
}

# The example configuration, with the addresses of this run in place of its own: the loopback only.
make_configuration() {
    local name
    local edits=(-e "s|\"0.0.0.0:8443\", \"\[::\]:8443\"|\"127.0.0.1:$port\"|" -e 's|"0.0.0.0:8080"|"127.0.0.1:0"|'
        -e 's|listen: 127.0.0.1:9180|listen: 127.0.0.1:0|')
    local number=9001
    for name in auth core worker search; do
        edits+=(-e "s|http://127.0.0.1:$number|http://127.0.0.1:$(listening "$state/services.out" service $name port)|")
        number=$((number + 1))
    done
    sed "${edits[@]}" conf/gatehouse.yaml >"$state/gatehouse.yaml"
    if grep -q '0\.0\.0\.0\|127\.0\.0\.1:900[1-4]["/]' "$state/gatehouse.yaml"; then
        echo "conf/gatehouse.yaml has other addresses than this script expects." >&2
        exit 1
    fi
}

services_listen() {
    local name
    for name in auth core worker search; do listening "$state/services.out" service $name port >/dev/null || return 1; done
}

start_both() {
    mkdir -p "$state"
    stop_all
    rm -rf "$state/data" "$state"/*.out "$state"/*.err "$state/jwks.json"
    make_certificates
    start services "$services" all --data "$state/data" --issuer https://auth.example.com --audience platform-api \
        --auth-port 0 --core-port 0 --worker-port 0 --search-port 0
    wait_for 60 "The services" services_listen
    make_configuration
    start gateway "$gateway" run --config "$state/gatehouse.yaml"
    gateway_pid=$started
    wait_for 30 "The gateway" listening "$state/gateway.err" listener https address >/dev/null
    origin=https://localhost:$(listening "$state/gateway.err" listener https address | sed 's/.*://')
    admin=$(listening "$state/gateway.err" listener admin address || true)
}

# --- steps -----------------------------------------------------------------------------------------------------------

# judged WHAT WANTED GOT COMMAND: one step as one readable line, and the command that did it.
judged() {
    local mark=ok
    [ "$2" = "$3" ] || { mark='NOT AS EXPECTED'; failures=$((failures + 1)); }
    printf '%-3s %-62s %s\n      $ %s\n' "$mark" "$1" "$3" "$4"
}

# ask WHAT STATUS CURL-ARGUMENTS...: one request over HTTP/2 and TLS; the answer is in .demo/answer and .demo/head.
ask() {
    local what=$1 wanted=$2 shown= argument
    shift 2
    for argument in "$@"; do
        case $argument in
            "Authorization: Bearer $token") argument="Authorization: Bearer \$TOKEN" ;;
            "Authorization: Bearer $forged") argument="Authorization: Bearer \$FORGED" ;;
        esac
        case $argument in
            *[!A-Za-z0-9_./:=@-]*) argument="\"${argument//\"/\\\"}\"" ;;
        esac
        shown+=" $argument"
    done
    local got
    got=$(curl --silent --show-error --http2 --cacert "$state/tls/ca.crt" --max-time 20 -o "$state/answer" \
        -D "$state/head" -w 'HTTP/%{http_version} %{http_code}' "$@" || true)
    judged "$what" "HTTP/2 $wanted" "$got" "curl --http2 --cacert $state/tls/ca.crt$shown"
}

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# A token with the real head and claims, signed with a key of our own.
forge() {
    local signed=${token%.*}
    openssl genrsa -out "$state/forger.pem" 2048 2>/dev/null
    printf '%s.%s' "$signed" "$(printf '%s' "$signed" | openssl dgst -sha256 -sign "$state/forger.pem" | base64url)"
}

found() {
    curl --silent --cacert "$state/tls/ca.crt" --max-time 10 -H "Authorization: Bearer $token" \
        "$origin/search/documents?q=lighthouse" | grep -q "$document"
}

a_request_passes() {
    [ "$(curl --silent --cacert "$state/tls/ca.crt" --max-time 10 -o /dev/null -w '%{http_code}' \
        "$origin/.well-known/jwks.json")" = 200 ]
}

logged() { grep -q "$request_id" "$state/gateway.out"; }

burst() {
    local url="$origin/api/v1/documents?n=[1-300]"
    curl --silent --parallel --parallel-max 300 --cacert "$state/tls/ca.crt" --max-time 60 -o /dev/null \
        -H "Authorization: Bearer $token" -w '%{http_code}\n' "$url" >"$state/burst" 2>/dev/null || true
    local passed refused
    passed=$(grep -c '^200' "$state/burst" || true)
    refused=$(grep -c '^429' "$state/burst" || true)
    local got="$passed passed, $refused got 429" wanted="at least 90 passed and some got 429"
    # How many more than the burst of 100 pass depends on how long the machine takes for 300.
    [ "$passed" -ge 90 ] && [ "$refused" -ge 1 ] && [ $((passed + refused)) -eq 300 ] && wanted=$got
    judged "300 requests at once from one client" "$wanted" "$got" \
        "curl --parallel --parallel-max 300 ... -H \"Authorization: Bearer \$TOKEN\" \"$url\""
}

new_route() {
    local url="$origin/added/.well-known/jwks.json" failed
    ask "A path that no service has" 404 "$url"
    # Half the rate that the limit allows, so that every refusal would be the reload's.
    curl --silent --rate 50/s --cacert "$state/tls/ca.crt" --max-time 60 -o /dev/null -w '%{http_code}\n' \
        "$origin/.well-known/jwks.json?n=[1-100]" >"$state/during" &
    local load=$!
    sleep 0.5
    echo '  - {name: added, match: {prefix: /added}, to: auth, auth: none, limits: [], path: {strip_prefix: true}}' \
        >>"$state/gatehouse.yaml"
    kill -HUP "$gateway_pid"
    wait_for 10 "The new route" route_answers "$url"
    wait "$load" || true
    failed=$((100 - $(grep -c '^200' "$state/during" || true)))
    ask "The same path, after its route was added to the file" 200 "$url"
    judged "Of 100 requests during the reload, failed:" 0 "$failed" "kill -HUP $gateway_pid"
}

route_answers() { [ "$(curl --silent --cacert "$state/tls/ca.crt" --max-time 5 -o /dev/null -w '%{http_code}' "$1")" = 200 ]; }

steps() {
    token=none forged=none
    local email="ada-$$@example.com" password='correct horse battery staple'
    echo
    ask "Registration" 201 -H 'Content-Type: application/json' \
        -d "{\"email\":\"$email\",\"password\":\"$password\"}" "$origin/auth/register"
    ask "A token for the account" 200 -d grant_type=password --data-urlencode "username=$email" \
        --data-urlencode "password=$password" "$origin/auth/token"
    token=$(member "$state/answer" access_token)
    ask "A document, created over HTTP/2 and TLS" 201 -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/json' -d '{"title":"Demo","body":"a lighthouse at night"}' "$origin/api/v1/documents"
    document=$(member "$state/answer" id)
    request_id=$(tr -d '\r' <"$state/head" | awk -F ': ' 'tolower($1) == "x-request-id" {print $2; exit}')
    wait_for 20 "The document in the search" found
    ask "The document, found by search" 200 -H "Authorization: Bearer $token" "$origin/search/documents?q=lighthouse"
    ask "The same without a token" 401 "$origin/search/documents?q=lighthouse"
    forged=$(forge)
    ask "The same with a forged token" 401 -H "Authorization: Bearer $forged" "$origin/search/documents?q=lighthouse"
    burst
    wait_for 10 "The access line" logged
    judged "The document's line in the access log, by its request id" 1 "$(grep -c "$request_id" "$state/gateway.out")" \
        "grep $request_id $state/gateway.out"
    grep -m 1 "$request_id" "$state/gateway.out" | sed 's/^/      /'
    wait_for 10 "Room in the client's bucket" a_request_passes
    sleep 1
    new_route
}

# --- main ------------------------------------------------------------------------------------------------------------

once=${ONCE:-}
mode=show
case ${1:-} in
    --stop)
        stop_all
        exit 0
        ;;
    --dev)
        mode=dev
        shift
        ;;
esac
gateway=$(readlink -f "${1:?usage: demo.sh [--dev] GATEWAY SERVICES}")
services=$(readlink -f "${2:?usage: demo.sh [--dev] GATEWAY SERVICES}")
port=${PORT:-8443}
[ "$once" = 1 ] && port=0

# Whatever goes wrong before the end, nothing is left running.
trap 'status=$?; stop_all; exit $status' EXIT
trap 'exit 130' INT TERM
start_both
echo "The gateway is at $origin (process $gateway_pid), its health at http://$admin/readyz, its log in $state/gateway.out."
echo "The web page is at $origin/ (the certificate is this run's own: $state/tls/ca.crt)."

if [ $mode = dev ]; then
    echo "Ctrl-C ends it."
    tail -f --pid="$gateway_pid" "$state/gateway.out" "$state/gateway.err"
    exit 0
fi

steps
echo
if [ "$once" = 1 ]; then
    stop_all
    if [ $failures -gt 0 ]; then
        echo "$failures of the steps were not as expected."
        exit 1
    fi
    echo "Every step was as expected."
    exit 0
fi

trap - EXIT
cat <<END
It goes on running. To try more:
  TOKEN=\$(curl -s --cacert $state/tls/ca.crt -d grant_type=password --data-urlencode 'username=ada-$$@example.com' \\
    --data-urlencode 'password=correct horse battery staple' $origin/auth/token | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')
  curl --cacert $state/tls/ca.crt -H "Authorization: Bearer \$TOKEN" $origin/api/v1/documents
  curl http://$admin/metrics
  edit $state/gatehouse.yaml, then: kill -HUP $gateway_pid
  conf/demo/demo.sh --stop
END
[ $failures -eq 0 ] || exit 1
