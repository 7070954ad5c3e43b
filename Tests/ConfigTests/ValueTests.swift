import Config
import Testing

/// Each row: a line put in place of its section, and the one error that it gives.
@Suite("Values outside what a key allows") struct ValueTests {
    @Test(
        "Numbers, durations, sizes, rates and words are taken strictly, and the message tells what is allowed",
        arguments: [
            ("version: 2", "1:10: version must be 1, found '2'"),
            ("workers: many", "9:10: workers must be auto or from 1 to 512, found 'many'"),
            ("workers: 0", "9:10: workers must be auto or from 1 to 512, found '0'"),
            ("memory: {budget: 1MiB}", "9:18: budget must be from 16MiB to 4096GiB, found '1MiB'"),
            (
                "memory: {budget: 512MB}",
                "9:18: budget must be a size such as 512B, 64KiB, 10MiB or 2GiB, found '512MB'"
            ),
            (
                "memory: {budget: none}",
                "9:18: budget must be a size such as 512B, 64KiB, 10MiB or 2GiB, found 'none'"
            ),
            ("memory: 512MiB", "9:9: memory must be a mapping, found '512MiB'"),
            (
                "client_address: {trusted_proxies: [10.0.0.1/8]}",
                "9:36: a network must be address/length with no bit set beyond the length, such as 10.0.0.0/8, found '10.0.0.1/8'"
            ),
            ("client_address: {ipv6_prefix: 129}", "9:31: ipv6_prefix must be from 16 to 128, found '129'"),
            (
                "request_id: {header: \"X ID\"}",
                "9:22: a field name is 1 to 64 letters, digits and '-', found 'X ID'"
            ),
            (
                "request_id: {header: Host}",
                "9:22: the field 'Host' has a meaning of its own and cannot be used here"
            ),
            (
                "request_id: {accept_from: all}",
                "9:27: accept_from must be any, trusted_proxies or nobody, found 'all'"
            ),
            ("request_id: {echo: yes}", "9:20: echo must be true or false, found 'yes'"),
            ("paths: {merge_slashes: 1}", "9:24: merge_slashes must be true or false, found '1'"),
            (
                "log: {access: {to: stdot}}",
                "9:20: to must be stdout, none or a file such as ./access.log, found 'stdot'; did you mean 'stdout'?"
            ),
            ("log: {access: {to: /var/log/}}", "9:20: to must be a file, found the folder '/var/log/'"),
            ("log: {access: {format: text}}", "9:24: format must be json, found 'text'"),
            (
                "log: {access: {on_overflow: block}}",
                "9:29: on_overflow must be drop-and-count, found 'block'"
            ),
            ("log: {access: {queue: 1KiB}}", "9:23: queue must be from 64KiB to 1GiB, found '1KiB'"),
            (
                "log: {access: {redact: [\"a:b\"]}}",
                "9:25: a field name is 1 to 64 letters, digits and '-', found 'a:b'"
            ),
            (
                "log: {errors: {to: stdout}}",
                "9:20: to must be stderr, found 'stdout'"
            ),
            (
                "log: {errors: {level: warn}}",
                "9:23: level must be debug, info, warning or error, found 'warn'"
            ),
            (
                "admin: {listen: localhost}",
                "9:17: listen must be address:port such as 127.0.0.1:8080 or [::1]:8080, found 'localhost'"
            ),
            ("limits_of_http: {head: 61KiB}", "9:24: head must be from 256B to 60KiB, found '61KiB'"),
            (
                "limits_of_http: {request_line: 33KiB}",
                "9:32: request_line (33KiB) must not exceed head (32KiB), which holds it"
            ),
            (
                "limits_of_http: {head: 4KiB}",
                "9:24: request_line (8KiB) must not exceed head (4KiB), which holds it"
            ),
            ("limits_of_http: {fields: 201}", "9:26: fields must be from 1 to 200, found '201'"),
            ("limits_of_http: {fields: 010}", "9:26: fields must be a number, found '010'"),
            (
                "limits_of_http: {body: 99999999999GiB}",
                "9:24: body must be a size such as 512B, 64KiB, 10MiB or 2GiB, or none, found '99999999999GiB'"
            ),
            (
                "limits_of_http: {head_timeout: 10}",
                "9:32: head_timeout must be a duration such as 250ms, 5s, 2m or 1h, found '10'"
            ),
            (
                "limits_of_http: {body_idle_timeout: 1.5s}",
                "9:37: body_idle_timeout must be a duration such as 250ms, 5s, 2m or 1h, found '1.5s'"
            ),
            (
                "limits_of_http: {idle_timeout: 25h}",
                "9:32: idle_timeout must be from 10ms to 24h, found '25h'"
            ),
            (
                "limits_of_http: {websocket_idle_timeout: 25h}",
                "9:42: websocket_idle_timeout must be from 10ms to 24h, found '25h'"
            ),
            (
                "limits_of_http: {min_body_rate: 256B/s}",
                "9:33: min_body_rate must be a mapping, found '256B/s'"
            ),
            (
                "limits_of_http: {min_body_rate: {rate: 256B}}",
                "9:40: rate must be a rate such as 256B/s, 4KiB/s or 1MiB/s, found '256B'"
            ),
            (
                "limits_of_http: {min_body_rate: {rate: 0B/s}}",
                "9:40: rate must be from 1B/s to 1GiB/s, found '0B/s'"
            ),
            (
                "limits_of_http: {min_body_rate: {window: 50ms}}",
                "9:42: window must be from 100ms to 1h, found '50ms'"
            ),
            (
                "limits_of_http: {min_body_rate: {windows: 5s}}",
                "9:34: unknown key 'windows'; did you mean 'window'?"
            ),
            ("limits_of_http: {streams: 0}", "9:27: streams must be from 1 to 4096, found '0'"),
            (
                "limits_of_http: {resets: 100}",
                "9:26: resets must be a rate such as 100/s, 120/min or 5000/h, found '100'"
            ),
            ("limiter: {keys: 10}", "9:17: keys must be from 1000 to 100000000, found '10'"),
            ("limits: {client: {rate: 0/s}}", "4:25: rate must be from 1/s to 1000000/s, found '0/s'"),
            (
                "limits: {client: {rate: 1000001/min}}",
                "4:25: rate must be from 1/min to 1000000/min, found '1000001/min'"
            ),
            ("limits: {client: {rate: []}}", "4:25: rate must have at least 1 entry"),
            ("limits: {client: {rate: 1/s, burst: 0}}", "4:37: burst must be from 1 to 1000000, found '0'"),
            (
                "limits: {client: {rate: 1/s, per: ip}}",
                "4:35: per must be client, subject, consumer, route, certificate, header:NAME or claim:NAME, found 'ip'"
            ),
            (
                "limits: {client: {rate: 1/s, per: \"header:X Key\"}}",
                "4:35: a field name is 1 to 64 letters, digits and '-', found 'X Key'"
            ),
            (
                "limits: {client: {rate: 1/s, per: \"claim:\"}}",
                "4:35: claim: must be followed by the name of a claim"
            ),
            (
                "limits: {client: {rate: [60/min, 1000/h], burst: 5}}",
                "4:50: burst needs a limit of one window; of several each has its count"
            ),
            (
                "limits: {client: {rate: [60/min, 1000/min]}}",
                "4:34: each window of a rate must have a length of its own, found '1000/min'"
            ),
            (
                "limits: {client: {rate: 1/s, headers: never}}",
                "4:39: headers must be refused or always, found 'never'"
            ),
            (
                "limits: {client: {rate: 1/s}, Big: {rate: 1/s}}",
                "4:31: a name is 1 to 64 of a-z, 0-9 and '-', found 'Big'"
            ),
            (
                "resilience: {slow: {timeouts: {connect: 6m}}}",
                "5:41: connect must be from 10ms to 5m, found '6m'"
            ),
            (
                "tracing: {traceparent: pass}",
                "9:24: traceparent must be propagate, generate or drop, found 'pass'"
            ),
            (
                "resilience: {slow: {timeouts: {idle: soon}}}",
                "5:38: idle must be a duration such as 250ms, 5s, 2m or 1h, found 'soon'"
            ),
        ])
    func general(line: String, expected: String) {
        #expect(SampleConfiguration.errors(SampleConfiguration.text(line)) == [expected])
    }

    @Test(
        "Listeners: addresses, protocols that fit TLS, and numbers in range",
        arguments: [
            (
                "bind: [\"localhost:80\"]",
                "2:24: bind must be address:port such as 127.0.0.1:8080 or [::1]:8080, found 'localhost:80'"
            ),
            (
                "bind: [\"1.2.3.4:65536\"]",
                "2:24: bind must be address:port such as 127.0.0.1:8080 or [::1]:8080, found '1.2.3.4:65536'"
            ),
            (
                "bind: [unix:run/x]",
                "2:24: a socket's path begins with '/' and ends with its name, found 'unix:run/x'"
            ),
            (
                "bind: [unix:/x/]",
                "2:24: a socket's path begins with '/' and ends with its name, found 'unix:/x/'"
            ),
            ("bind: [unix:/x, unix:/x]", "2:33: 'unix:/x' stands in bind already"),
            (
                "bind: [\"systemd:\"]",
                "2:24: systemd: must be followed by the FileDescriptorName= of a socket unit, found 'systemd:'"
            ),
            ("bind: []", "2:23: bind must have at least 1 entry"),
            ("bind: \"1.2.3.4:1\"", "2:23: bind must be a list, found '1.2.3.4:1'"),
            ("bind: [\"1.2.3.4:1\", \"1.2.3.4:1\"]", "2:37: '1.2.3.4:1' stands in bind already"),
            ("bind: [\"[::1]:1\", \"[0:0::1]:1\"]", "2:35: '[0:0::1]:1' is listened on already, at 2:24"),
            (
                "bind: [\"1.2.3.4:1\"], protocols: [h2]",
                "2:50: 'h2' needs tls on this listener; without tls it is 'h2c'"
            ),
            (
                "bind: [\"1.2.3.4:1\"], protocols: [http/2]",
                "2:50: protocols on this listener are http/1.1 or h2c, found 'http/2'"
            ),
            ("bind: [\"1.2.3.4:1\"], protocols: []", "2:49: protocols must have at least 1 entry"),
            (
                "bind: [\"1.2.3.4:1\"], redirect_to_https: 0",
                "2:57: redirect_to_https must be from 1 to 65535, found '0'"
            ),
            (
                "bind: [\"1.2.3.4:1\"], redirect_to_https: true",
                "2:57: redirect_to_https must be a number, found 'true'"
            ),
            (
                "bind: [\"1.2.3.4:1\"], redirect_to_https: 443, tls: {certificates: [{cert: c, key: k}]}",
                "2:57: redirect_to_https sends plaintext away; a listener with it takes no tls"
            ),
            (
                "bind: [\"1.2.3.4:1\"], proxy_protocol: maybe",
                "2:54: proxy_protocol must be none or required, found 'maybe'"
            ),
            (
                "bind: [\"1.2.3.4:1\"], proxy_protocol: required",
                "2:54: proxy_protocol is believed from client_address.trusted_proxies alone, which are none: every connection would be closed"
            ),
            (
                "bind: [\"1.2.3.4:1\"], protocols: [h2c], tls: {certificates: [{cert: c, key: k}]}",
                "2:50: 'h2c' is for listeners without tls; with tls it is 'h2'"
            ),
            (
                "bind: [\"1.2.3.4:1\"], connections: {max: 0}",
                "2:57: max must be from 1 to 10000000, found '0'"
            ),
            (
                "bind: [\"1.2.3.4:1\"], connections: {per_client: x}",
                "2:64: per_client must be a number, found 'x'"
            ),
            (
                "bind: [\"1.2.3.4:1\"], tls: {certificates: []}",
                "2:58: certificates must have at least 1 entry"
            ),
            ("bind: [\"1.2.3.4:1\"], tls: ", "2:43: tls must be a mapping, found nothing"),
            (
                "bind: [\"1.2.3.4:1\"], tls: {certificates: [{cert: c, key: k}], min_version: 1.1}",
                "2:92: min_version must be 1.2 or 1.3, found '1.1'; did you mean '1.2'?"
            ),
            (
                "bind: [\"1.2.3.4:1\"], tls: {certificates: [{cert: c, key: k}], handshake: {timeout: 1ms}}",
                "2:100: timeout must be from 10ms to 5m, found '1ms'"
            ),
            (
                "bind: [\"1.2.3.4:1\"], tls: {certificates: [{cert: c, key: k}], handshake: {in_flight: 0}}",
                "2:102: in_flight must be from 1 to 1000000, found '0'"
            ),
            (
                "bind: [\"1.2.3.4:1\"], tls: {certificates: [{cert: c, key: k}], session_tickets: {rotate: 1s}}",
                "2:105: rotate must be from 1m to 720h, found '1s'"
            ),
            (
                "bind: [\"1.2.3.4:1\"], tls: {certificates: [{cert: c, key: {}}]}",
                "2:74: key must be text, found a mapping"
            ),
        ])
    func listeners(entry: String, expected: String) {
        #expect(
            SampleConfiguration.errors(SampleConfiguration.text("listeners: {a: {\(entry)}}")) == [expected])
    }

    @Test("No route is on a listener that sends everything away, and it needs none") func redirects() {
        let listeners =
            "listeners: {web: {bind: [\"1.2.3.4:1\"]}, old: {bind: [\"1.2.3.4:2\"], redirect_to_https: 443}}"
        let route = "routes: [{name: all, match: {prefix: /, listeners: [web, old]}, to: core}]"
        #expect(
            SampleConfiguration.errors(SampleConfiguration.text(listeners, route)) == [
                "8:52: listener 'old' sends everything to https; no route can be on it"
            ])
        #expect(SampleConfiguration.errors(SampleConfiguration.text(listeners)) == [])
    }

    @Test(
        "Auth: RFC 8725 §3.2, no algorithm but those built; fields and claims that can be told apart",
        arguments: [
            (
                "algorithms: [none]",
                "3:77: 'none' cannot be used; algorithms are RS256, RS384, RS512, PS256, ES256 or EdDSA"
            ),
            (
                "algorithms: [HS256]",
                "3:77: 'HS256' cannot be used; algorithms are RS256, RS384, RS512, PS256, ES256 or EdDSA"
            ),
            (
                "algorithms: [rs256]",
                "3:77: algorithms must be RS256, RS384, RS512, PS256, ES256 or EdDSA, found 'rs256'"
            ),
            ("algorithms: [ES256, RS256, ES256]", "3:91: 'ES256' stands in algorithms already"),
            ("algorithms: []", "3:76: algorithms must have at least 1 entry"),
            ("leeway: 11m", "3:72: leeway must be from 0s to 10m, found '11m'"),
            ("require_claims: sub", "3:80: require_claims must be a list, found 'sub'"),
            ("max_token: 1MiB", "3:75: max_token must be from 256B to 48KiB, found '1MiB'"),
            ("typ: jwt", "3:69: typ must be any or at+jwt, found 'jwt'"),
            ("pass_token: maybe", "3:76: pass_token must be true or false, found 'maybe'"),
            ("cache: {tokens: -1}", "3:80: tokens must be a number, found '-1'"),
            ("cache: {negative: 1h}", "3:82: negative must be from 0s to 10m, found '1h'"),
            ("forward: [sub]", "3:73: forward must be a mapping from fields to claims, found a list"),
            ("forward: {X-User: }", "3:82: a claim must be text, found nothing"),
            (
                "forward: {Content_Length: n}",
                "3:74: the field 'Content_Length' has a meaning of its own and cannot be used here"
            ),
            ("forward: {X-User: a, x_user: b}", "3:85: 'x_user' is the same field as 'X-User'"),
            ("forward: {x-request-id: a}", "3:74: 'x-request-id' is the same field as 'X-Request-ID'"),
        ])
    func auth(entry: String, expected: String) {
        let line = "auth: {main: {jwt: {issuer: i, audience: [a], keys: {file: f}, \(entry)}}}"
        #expect(SampleConfiguration.errors(SampleConfiguration.text(line)) == [expected])
    }

    @Test("An auth cannot take the name that means nobody is asked")
    func reservedName() {
        let line = "auth: {none: {jwt: {issuer: i, audience: [a], keys: {file: f}}}}"
        let text = SampleConfiguration.text(line, "defaults: {auth: none}")
        #expect(SampleConfiguration.errors(text) == ["3:8: an auth must not be named 'none'"])
    }

    @Test(
        "Services: http://host:port and nothing else",
        arguments: [
            ("127.0.0.1:9000", "found '127.0.0.1:9000': it has no scheme"),
            ("ftp://a:1", "found 'ftp://a:1': the scheme is not http, https, h2c or h2"),
            ("http://u@a:1", "found 'http://u@a:1': a user name is not allowed"),
            ("http://a:1/", "found 'http://a:1/': nothing may follow host and port, not even '/'"),
            ("http://a:1?x", "found 'http://a:1?x': nothing may follow host and port, not even '/'"),
            ("http://a:0", "found 'http://a:0': the port must be from 1 to 65535"),
            ("http://a:", "found 'http://a:': the port must be from 1 to 65535"),
            ("http://a:65536", "found 'http://a:65536': the port must be from 1 to 65535"),
            ("http://:80", "found 'http://:80': the host is neither an address nor a name"),
            ("http://1.2.3:80", "found 'http://1.2.3:80': the host is neither an address nor a name"),
            ("http://a_b-.c:80", "found 'http://a_b-.c:80': the host is neither an address nor a name"),
            ("http://[::g]:80", "found 'http://[::g]:80': the host is not an IPv6 address"),
            ("http://[1.2.3.4]:80", "found 'http://[1.2.3.4]:80': the host is not an IPv6 address"),
            ("http://::1:80", "found 'http://::1:80': host and port cannot be told apart"),
        ])
    func serviceAddresses(url: String, expected: String) {
        let text = SampleConfiguration.text("services: {core: {to: [\"\(url)\"]}}")
        #expect(
            SampleConfiguration.errors(text) == [
                "6:24: a service's address must be http://host:port (or https, h2, h2c) or unix:/path, \(expected)"
            ])
    }

    @Test(
        "Services: other values",
        arguments: [
            ("to: []", "6:23: to must have at least 1 entry"),
            ("to: \"http://a:1\"", "6:23: to must be a list, found 'http://a:1'"),
            (
                "to: [\"http://a\", \"http://A:80\"]",
                "6:36: 'http://A:80' is an address of this service already"
            ),
            (
                "to: [\"http://a:1\"], balance: fair",
                "6:48: balance must be round-robin, least-request or random, found 'fair'"
            ),
            (
                "to: [\"http://a:1\"], keepalive: {idle: 0s}",
                "6:57: idle must be from 10ms to 24h, found '0s'"
            ),
            (
                "to: [\"http://a:1\"], keepalive: {connections: 65537}",
                "6:64: connections must be from 0 to 65536, found '65537'"
            ),
        ])
    func services(entry: String, expected: String) {
        #expect(
            SampleConfiguration.errors(SampleConfiguration.text("services: {core: {\(entry)}}")) == [expected]
        )
    }

    @Test(
        "Routes: prefixes in normal form, hosts, limits that can count, and values in range",
        arguments: [
            ("match: {prefix: api}, to: core", "8:36: prefix must begin with '/', found 'api'"),
            (
                "match: {prefix: /a/}, to: core",
                "8:36: prefix must not end with '/' (it matches whole segments), found '/a/'"
            ),
            (
                "match: {prefix: /a//b}, to: core",
                "8:36: prefix must not contain '//' (paths.merge_slashes is true), found '/a//b'"
            ),
            (
                "match: {prefix: /a/../b}, to: core",
                "8:36: prefix must not contain the segments '.' and '..', found '/a/../b'"
            ),
            (
                "match: {prefix: /a/%}, to: core",
                "8:36: prefix must have two of 0-9 and A-F after each '%', found '/a/%'"
            ),
            (
                "match: {prefix: /%2f}, to: core",
                "8:36: prefix must have two of 0-9 and A-F after each '%', found '/%2f'"
            ),
            (
                "match: {prefix: /%41}, to: core",
                "8:36: prefix must not percent-encode letters, digits, '-', '.', '_' and '~', found '/%41'"
            ),
            ("match: {prefix: /%00}, to: core", "8:36: prefix must not contain '%00', found '/%00'"),
            ("match: {prefix: /%5C}, to: core", "8:36: prefix must not contain a backslash, found '/%5C'"),
            (
                "match: {prefix: \"/a?b\"}, to: core",
                "8:36: prefix has a character that must be percent-encoded, found '/a?b'"
            ),
            (
                "match: {prefix: /, hosts: [\"a:80\"]}, to: core",
                "8:47: a host must be a name such as api.example.com or *.example.com, found 'a:80'"
            ),
            (
                "match: {prefix: /, hosts: [\"*\"]}, to: core",
                "8:47: a host must be a name such as api.example.com or *.example.com, found '*'"
            ),
            ("match: {prefix: /, hosts: [a.b, A.B]}, to: core", "8:52: 'A.B' stands in hosts already"),
            ("match: {prefix: /, hosts: []}, to: core", "8:46: hosts must have at least 1 entry"),
            ("match: {prefix: /, listeners: []}, to: core", "8:50: listeners must have at least 1 entry"),
            (
                "match: {prefix: /}, to: core, concurrency: {per: client}",
                "8:63: key 'max' is missing"
            ),
            (
                "match: {prefix: /}, to: core, concurrency: {max: 0}",
                "8:69: max must be from 1 to 1000000, found '0'"
            ),
            (
                "match: {prefix: /}, to: core, auth: none, concurrency: {max: 1, per: subject}",
                "8:75: concurrency is per subject, but this route has auth: none"
            ),
            (
                "match: {prefix: /}, to: core, limits: [client, client]",
                "8:67: each limit may be named once, found 'client'"
            ),
            (
                "match: {prefix: /}, to: core, auth: none, limits: [user]",
                "8:70: limit 'user' is per subject, but this route has auth: none"
            ),
            (
                "match: {prefix: /}, to: core, concurrency: {max: 1, per: certificate}",
                "8:63: concurrency is per certificate, but no listener of this route asks for one"
            ),
            (
                "match: {prefix: /}, to: core, body: {max: 2PiB}",
                "8:62: max must be a size such as 512B, 64KiB, 10MiB or 2GiB, or none, found '2PiB'"
            ),
            (
                "match: {prefix: /}, to: core, timeouts: {request: 0s}",
                "8:70: request must be from 10ms to 24h, found '0s'"
            ),
            ("match: {prefix: /}, to: core, timeouts: {total: 1s}", "8:61: unknown key 'total'"),
            (
                "match: {prefix: /}, to: core, path: {strip_prefix: 1}",
                "8:71: strip_prefix must be true or false, found '1'"
            ),
            (
                "match: {prefix: /}, to: core, preserve_host: 1",
                "8:65: preserve_host must be true or false, found '1'"
            ),
            ("match: {prefix: /}, to: core, log: all", "8:55: log must be none, found 'all'"),
            ("match: /, to: core", "8:27: match must be a mapping, found '/'"),
        ])
    func routes(entry: String, expected: String) {
        let text = SampleConfiguration.text("routes: [{name: r, \(entry)}]")
        #expect(SampleConfiguration.errors(text) == [expected])
    }
}
