#!/bin/bash
# demo.sh GATEWAY SERVICES: the gateway before the reference services, each a process, shown step by step. State is under
# .demo/.
#
#   ONCE=1 demo.sh ...    ends everything at the end, and exits non-zero if any step was not as expected
#   demo.sh --dev ...     no steps: all run until Ctrl-C
#   demo.sh --stop        ends what an earlier run left running
#   PORT=8443             where the gateway listens; ONCE=1 takes any free port
#
# Only processes that this script started are ended, by their ids.
set -euo pipefail
cd "$(dirname "$0")/../.."

state=.demo
pids=$state/pids
failures=0
judgements=0
declare -A ports=() service_pids=()

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
    # One that has ended already is nobody's to end.
    if [ "$(program_of "$pid")" = "$program" ]; then echo "$pid $program" >>"$pids"; fi
    started=$pid
    started_name=$name
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
    if kill -0 "$started" 2>/dev/null; then
        echo "$what: nothing came in $seconds s:" >&2
        tail -n 15 "$state"/*.err >&2
    else
        echo "$what: $started_name ended:" >&2
        tail -n 5 "$state/$started_name.err" >&2
    fi
    exit 1
}

# member FILE NAME: a member of a JSON object; nothing when there is none.
member() {
    python3 -c 'import json, sys
try: print(json.load(open(sys.argv[1])).get(sys.argv[2], ""))
except (ValueError, OSError, AttributeError): pass' "$1" "$2"
}

# told EVENT FILE KEY NAME MEMBER: a member of the first such event whose KEY is NAME.
told() {
    python3 -c 'import json, sys
wanted, file, key, name, member = sys.argv[1:]
for line in open(file):
    try: event = json.loads(line)
    except ValueError: continue
    if event.get("event") == wanted and event.get(key) == name:
        print(event[member]); sys.exit(0)
sys.exit(1)' "$@" 2>/dev/null
}

listening() { told listening "$@"; }

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
        edits+=(-e "s|http://127.0.0.1:$number|http://127.0.0.1:${ports[$name]}|")
        number=$((number + 1))
    done
    sed "${edits[@]}" conf/gatehouse.yaml >"$state/gatehouse.yaml"
    if grep -q '0\.0\.0\.0\|127\.0\.0\.1:900[1-4]["/]' "$state/gatehouse.yaml"; then
        echo "conf/gatehouse.yaml has other addresses than this script expects." >&2
        exit 1
    fi
}

# start_service NAME: always at the same port, so that the others find it again; the sinks keep it meanwhile.
start_service() {
    local name=$1 options=()
    case $name in
        auth | core | worker | search) options+=(--bus-url "http://127.0.0.1:${ports[bus]}") ;;
    esac
    case $name in
        core | worker | search) options+=(--jwks-url "http://127.0.0.1:${ports[auth]}/.well-known/jwks.json") ;;
    esac
    # Webhooks may come to this machine: the receiver is here.
    [ "$name" = worker ] && options+=(--smtp-url "smtp://127.0.0.1:$mail_port" --mail-from platform@example.com
        --allow-private-webhooks --lease-seconds 3)
    start "$name" "$services" "$name" --port "${ports[$name]}" --data "$state/data" --issuer https://auth.example.com \
        --audience platform-api --service-token-file "$state/secret" "${options[@]}"
    service_pids[$name]=$started
    wait_for 60 "$name" listening "$state/$name.out" service "$name" port >/dev/null
}

start_all() {
    mkdir -p "$state"
    stop_all
    rm -rf "$state/data" "$state"/*.out "$state"/*.err "$state/jwks.json"
    make_certificates
    (umask 077 && openssl rand -hex 32 >"$state/secret")
    local name
    start sinks /usr/bin/python3 -B conf/demo/sinks.py bus auth search worker core
    wait_for 30 "The mail server and the receiver of webhooks" listening "$state/sinks.out" sink webhooks port >/dev/null
    mail_port=$(listening "$state/sinks.out" sink mail port)
    hook_url=$(listening "$state/sinks.out" sink webhooks url)
    for name in bus auth search worker core; do ports[$name]=$(told held "$state/sinks.out" service "$name" port); done
    for name in bus auth search worker core; do start_service $name; done
    make_configuration
    start gateway "$gateway" run --config "$state/gatehouse.yaml"
    gateway_pid=$started
    wait_for 30 "The gateway" listening "$state/gateway.err" listener https address >/dev/null
    origin=https://localhost:$(listening "$state/gateway.err" listener https address | sed 's/.*://')
    admin=$(listening "$state/gateway.err" listener admin address || true)
}

# --- steps -----------------------------------------------------------------------------------------------------------

# part TITLE: what the steps from here on are about.
part() { printf '\n%s\n' "$1"; }

# judged WHAT WANTED GOT COMMAND: one step as one readable line, and the command that did it.
judged() {
    local mark=ok
    judgements=$((judgements + 1))
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

# found WORD: whether the document is.
found() {
    curl --silent --cacert "$state/tls/ca.crt" --max-time 10 -H "Authorization: Bearer $token" \
        "$origin/search/documents?q=$1" | grep -q "$document"
}

# arrived EVENT KEY VALUE [MEMBER]: the lines of the mail server and the receiver in which KEY is VALUE, or a member of each.
arrived() {
    python3 -c 'import json, sys
event, key, value, *member = sys.argv[2:]
for line in open(sys.argv[1]):
    told = json.loads(line)
    if told["event"] == event and told.get(key) == value:
        print(told.get(member[0], "") if member else line.strip())' "$state/sinks.out" "$@"
}

count_arrived() { [ "$(arrived "${@:2}" | wc -l)" -ge "$1" ]; }

mails() {
    wait_for 20 "The mails" count_arrived 2 mail to "$email"
    judged "Mails to the account, with the request id of its registration" '2 mails' \
        "$(arrived mail to "$email" request_id | grep -c "$request_id") mails" "cat $state/sinks.out"
    arrived mail to "$email" subject | sed 's/^/      /'
}

# hook_is_signed ID: whether the webhook's signature is the one that openssl makes.
hook_is_signed() {
    local key stamp
    key=$(printf %s "${secret#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
    stamp=$(arrived webhook webhook-id "$1" webhook-timestamp | head -n 1)
    local code
    code=v1,$({ printf '%s.%s.' "$1" "$stamp"; arrived webhook webhook-id "$1" body | head -n 1 | tr -d '\n'; } |
        openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
    [ "$code" = "$(arrived webhook webhook-id "$1" webhook-signature | head -n 1)" ] && echo valid || echo 'NOT VALID'
}

webhook() {
    wait_for 20 "The webhook" count_arrived 1 webhook x-request-id "$request_id"
    local id
    id=$(arrived webhook x-request-id "$request_id" webhook-id)
    judged "The webhook came; openssl says that its signature is" valid "$(hook_is_signed "$id")" \
        "openssl dgst -sha256 -mac HMAC -macopt hexkey:\$KEY ...   (of webhook-id.webhook-timestamp.body)"
}

# Each service's own log, and the gateway's.
logged_everywhere() {
    local name
    for name in bus core worker search gateway; do
        grep -q "$request_id" "$state/$name.err" "$state/$name.out" || return 1
    done
}

one_request_id() {
    wait_for 10 "The log lines" logged_everywhere
    judged "The gateway and the services log it under one request id" '5 logs' \
        "$(grep -l "$request_id" "$state"/{gateway,bus,core,worker,search}.{out,err} | wc -l) logs" \
        "grep $request_id $state/*.out $state/*.err"
    local log
    for log in gateway.out core.err bus.err worker.err search.err; do
        grep -h -m 1 "$request_id" "$state/$log" | in_short "${log%.*}"
    done
}

# in_short SERVICE: a log line as a few words.
in_short() {
    python3 -c 'import json, sys
for line in sys.stdin:
    told = json.loads(line)
    what = [told[key] for key in ("method", "path", "status") if "status" in told] or [told["event"] + ":", told.get("type", "")]
    print("     ", sys.argv[1].ljust(7), told["time"][11:23], *what)' "$1"
}

# said LIST MEMBER...: those members of each entry of a list in the answer, an entry a line.
said() {
    python3 -c 'import json, sys
for each in json.load(open(sys.argv[1])).get(sys.argv[2], []):
    print("    ", *(f"{name}: {each[name]}" for name in sys.argv[3:] if name in each), sep="  ")' "$state/answer" "$@"
}

kill_worker() {
    ask "A second webhook, whose receiver is slow to answer at first" 201 -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/json' -d "{\"url\":\"$hook_url/slow\",\"events\":[\"document.updated\"]}" "$origin/worker/webhooks"
    local endpoint
    endpoint=$(member "$state/answer" id)
    ask "The document, changed" 200 -X PUT -H "Authorization: Bearer $token" -H 'Content-Type: application/json' -H 'If-Match: *' \
        -d '{"title":"Demo","body":"a lighthouse at noon"}' "$origin/api/v1/documents/$document"
    request_id=$(answered_request_id)
    started=${service_pids[worker]} started_name=worker
    # The first webhook is told too; the slow one is the one that the worker dies over.
    wait_for 20 "The webhooks" count_arrived 2 webhook x-request-id "$request_id"
    disown "${service_pids[worker]}"
    kill -KILL "${service_pids[worker]}"
    start_service worker
    wait_for 20 "The second attempt" attempted_again "$endpoint"
    ask "The worker was killed (-9) as it sent; then it tried again" 200 -H "Authorization: Bearer $token" \
        "$origin/worker/deliveries?endpoint=$endpoint"
    said deliveries event attempt state status
    judged "What came twice is known by its webhook-id, which is one" '1 id' \
        "$(arrived webhook x-request-id "$request_id" webhook-id | sort -u | wc -l) id" "cat $state/sinks.out"
}

attempted_again() {
    curl --silent --cacert "$state/tls/ca.crt" --max-time 10 -H "Authorization: Bearer $token" \
        "$origin/worker/deliveries?endpoint=$1" | grep -q '"attempt":2'
}

delete_search() {
    disown "${service_pids[search]}"
    kill -KILL "${service_pids[search]}"
    while [ -n "$(program_of "${service_pids[search]}")" ]; do sleep 0.05; done
    rm -f "$state"/data/search.sqlite*
    start_service search
    wait_for 20 "The document in the search" found noon
    ask "Search's database was deleted; the events made it anew" 200 -H "Authorization: Bearer $token" \
        "$origin/search/documents?q=noon"
    said hits title snippet
}

stop_bus() {
    kill -TERM "${service_pids[bus]}"
    while [ -n "$(program_of "${service_pids[bus]}")" ]; do sleep 0.05; done
    ask "The bus was stopped; a document is stored all the same" 201 -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/json' -d '{"title":"Meanwhile","body":"a harbour"}' "$origin/api/v1/documents"
    document=$(member "$state/answer" id)
    request_id=$(answered_request_id)
    start_service bus
    wait_for 20 "The document in the search" found harbour
    wait_for 20 "The webhook" count_arrived 1 webhook x-request-id "$request_id"
    ask "The bus runs again; what had waited for it is found, and told" 200 -H "Authorization: Bearer $token" "$origin/search/documents?q=harbour"
}

answered_request_id() { tr -d '\r' <"$state/head" | awk -F ': ' 'tolower($1) == "x-request-id" {print $2; exit}'; }

a_request_passes() {
    [ "$(curl --silent --cacert "$state/tls/ca.crt" --max-time 10 -o /dev/null -w '%{http_code}' \
        "$origin/.well-known/jwks.json")" = 200 ]
}

burst() {
    local url="$origin/api/v1/documents?n=[1-300]" passed refused
    # A machine that stands still for two seconds in their midst lets all pass.
    for _ in 1 2 3; do
        sleep 1.1
        curl --silent --parallel --parallel-max 300 --cacert "$state/tls/ca.crt" --max-time 60 -o /dev/null \
            -H "Authorization: Bearer $token" -w '%{http_code}\n' "$url" >"$state/burst" 2>/dev/null || true
        passed=$(grep -c '^200' "$state/burst" || true)
        refused=$(grep -c '^429' "$state/burst" || true)
        [ "$refused" -eq 0 ] || break
    done
    local got="$passed passed, $refused got 429" wanted="at least 90 passed and some got 429"
    # How many more than the burst of 100 pass depends on how long the machine takes for 300.
    [ "$passed" -ge 90 ] && [ "$refused" -ge 1 ] && [ $((passed + refused)) -eq 300 ] && wanted=$got
    judged "300 requests at once from a client that may send 100 a second" "$wanted" "$got" \
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
    token=none forged=none email="ada-$$@example.com"
    local password='correct horse battery staple'
    part "An account"
    ask "Registration" 201 -H 'Content-Type: application/json' \
        -d "{\"email\":\"$email\",\"password\":\"$password\"}" "$origin/auth/register"
    request_id=$(answered_request_id)
    mails
    ask "A token for the account" 200 -d grant_type=password --data-urlencode "username=$email" \
        --data-urlencode "password=$password" "$origin/auth/token"
    token=$(member "$state/answer" access_token)
    part "A document, and what follows from it"
    ask "A webhook, to be told of documents" 201 -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
        -d "{\"url\":\"$hook_url\",\"events\":[\"document.*\"]}" "$origin/worker/webhooks"
    secret=$(member "$state/answer" secret)
    ask "A document, created over HTTP/2 and TLS" 201 -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/json' -d '{"title":"Demo","body":"a lighthouse at night"}' "$origin/api/v1/documents"
    document=$(member "$state/answer" id)
    request_id=$(answered_request_id)
    wait_for 20 "The document in the search" found lighthouse
    ask "The document, found by search" 200 -H "Authorization: Bearer $token" "$origin/search/documents?q=lighthouse"
    said hits title snippet
    ask "The same without a token" 401 "$origin/search/documents?q=lighthouse"
    forged=$(forge)
    ask "The same with a forged token" 401 -H "Authorization: Bearer $forged" "$origin/search/documents?q=lighthouse"
    webhook
    one_request_id
    part "Services that die, lose their data or are away"
    kill_worker
    delete_search
    stop_bus
    part "The gateway: its limits, and a route that is added while it runs"
    burst
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
start_all
echo
echo "The gateway is at $origin (process $gateway_pid), its health at http://$admin/readyz, its log in $state/gateway.out."
echo "The web page is at $origin/ (no browser knows its certificate, which is this run's own: $state/tls/ca.crt)."

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
        echo "$failures of the $judgements steps were not as expected."
        exit 1
    fi
    echo "All $judgements steps were as expected."
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
