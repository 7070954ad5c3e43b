import Config
import Testing

/// Each row: a line put in place of its section, and the one error that it gives.
@Suite("What a configuration may not say") struct RefusalTests {
    @Test(
        "A key that this version knows and does not act on is refused by name, at its place",
        arguments: [
            ("admin: {socket: /run/x}", "9:9: 'socket' is not built yet in this version"),
            ("resilience: {p: {retry: {attempts: 3}}}", "5:18: 'retry' is not built yet in this version"),
            ("resilience: {p: {eject: {after: 5}}}", "5:18: 'eject' is not built yet in this version"),
            ("resilience: {p: {breaker: {pending: 50}}}", "5:18: 'breaker' is not built yet in this version"),
            (
                "services: {core: {to: [\"http://a:1\"], health: {path: /healthz}}}",
                "6:39: 'health' is not built yet in this version"
            ),
            (
                "services: {core: {to: [\"http://a:1\"], balance: \"hash:client\"}}",
                "6:48: 'hash:client' is not built yet in this version"
            ),
            (
                "services: {core: {to: [\"http://a:1\"], balance: \"hash:header:X-A\"}}",
                "6:48: 'hash:header:X-A' is not built yet in this version"
            ),
            (
                "routes: [{name: a, match: {prefix: /, methods: [GET]}, to: core}]",
                "8:39: 'methods' is not built yet in this version"
            ),
            (
                "routes: [{name: a, match: {prefix: /, headers: {X-Beta: \"1\"}}, to: core}]",
                "8:39: 'headers' is not built yet in this version"
            ),
            (
                "routes: [{name: a, match: {prefix: /}, to: {core: 95}}]",
                "8:44: weights are not built yet in this version; name one service"
            ),
            (
                "routes: [{name: a, match: {prefix: /}, to: core, cors: {max_age: 1h}}]",
                "8:50: 'cors' is not built yet in this version"
            ),
        ])
    func notBuilt(line: String, expected: String) {
        #expect(SampleConfiguration.errors(SampleConfiguration.text(line)) == [expected])
    }

    @Test(
        "Unknown keys are refused with the nearest right spelling, if one is near",
        arguments: [
            ("upstrem: {}", "9:1: unknown key 'upstrem'"),
            ("rotues: []", "9:1: unknown key 'rotues'; did you mean 'routes'?"),
            ("memory: {bugdet: 1GiB}", "9:10: unknown key 'bugdet'; did you mean 'budget'?"),
            (
                "listeners: {a: {bind: [\"1.2.3.4:1\"], protocol: [h2]}}",
                "2:38: unknown key 'protocol'; did you mean 'protocols'?"
            ),
            (
                "listeners: {a: {bind: [\"1.2.3.4:1\"], proxy_protokol: none}}",
                "2:38: unknown key 'proxy_protokol'; did you mean 'proxy_protocol'?"
            ),
            (
                "listeners: {a: {bind: [\"1.2.3.4:1\"], connections: {maximum: 1}}}",
                "2:52: unknown key 'maximum'"
            ),
            ("paths: {merge_slash: true}", "9:9: unknown key 'merge_slash'; did you mean 'merge_slashes'?"),
            ("log: {acces: {to: none}}", "9:7: unknown key 'acces'; did you mean 'access'?"),
            ("log: {access: {too: none}}", "9:16: unknown key 'too'; did you mean 'to'?"),
            ("limits: {client: {rate: 1/s, bursts: 3}}", "4:30: unknown key 'bursts'; did you mean 'burst'?"),
            (
                "services: {core: {to: [\"http://a:1\"], weight: 3}}",
                "6:39: unknown key 'weight'"
            ),
            (
                "routes: [{name: a, match: {prefx: /, prefix: /}, to: core}]",
                "8:28: unknown key 'prefx'; did you mean 'prefix'?"
            ),
            (
                "routes: [{name: a, match: {prefix: /}, to: core, ath: none}]",
                "8:50: unknown key 'ath'; did you mean 'auth'?"
            ),
            ("defaults: {limit: []}", "7:12: unknown key 'limit'; did you mean 'limits'?"),
            ("limiter: {\"k\\u001b\": 1}", "9:11: unknown key 'k\\u{1b}'"),
        ])
    func unknown(line: String, expected: String) {
        var errors = SampleConfiguration.errors(SampleConfiguration.text(line))
        if line.hasPrefix("defaults") { errors.removeLast() }
        #expect(errors == [expected])
    }

    @Test(
        "A key without a default must be there",
        arguments: [
            ("version: -", "1:1: key 'version' is missing"),
            ("listeners: {a: {tls: {certificates: [{cert: c, key: k}]}}}", "2:16: key 'bind' is missing"),
            ("listeners: {a: {bind: [\"1.2.3.4:1\"], tls: {}}}", "2:43: key 'certificates' is missing"),
            (
                "listeners: {a: {bind: [\"1.2.3.4:1\"], tls: {certificates: [{cert: c}]}}}",
                "2:59: key 'key' is missing"
            ),
            ("auth: {main: {}}", "3:14: key 'jwt' is missing"),
            ("auth: {main: {jwt: {issuer: i, audience: [a]}}}", "3:20: key 'keys' is missing"),
            ("auth: {main: {jwt: {issuer: i, keys: {file: f}}}}", "3:20: key 'audience' is missing"),
            ("auth: {main: {jwt: {audience: [a], keys: {file: f}}}}", "3:20: key 'issuer' is missing"),
            (
                "auth: {main: {jwt: {issuer: i, audience: [a], keys: {}}}}",
                "3:53: key 'file' or 'url' is missing"
            ),
            ("limits: {client: {burst: 1}}", "4:18: key 'rate' is missing"),
            ("services: {core: {}}", "6:18: key 'to' is missing"),
            ("routes: [{match: {prefix: /}, to: core}]", "8:10: key 'name' is missing"),
            ("routes: [{name: a, to: core}]", "8:10: key 'match' is missing"),
            ("routes: [{name: a, match: {}, to: core}]", "8:27: key 'prefix' is missing"),
            ("routes: [{name: a, match: {prefix: /}}]", "8:10: key 'to' is missing"),
            (
                "defaults: -",
                "7:10: a route without 'auth' needs 'auth' in defaults; write 'auth: none' to let anybody in"
            ),
            ("listeners: {}", "2:12: listeners must have at least 1 entry"),
            ("routes: []", "8:9: routes must have at least 1 entry"),
            ("routes:", "8:8: routes must be a list, found nothing"),
        ])
    func missing(line: String, expected: String) {
        #expect(SampleConfiguration.errors(SampleConfiguration.text(line)) == [expected])
    }

    @Test(
        "A name that nothing has is refused where it is used",
        arguments: [
            ("defaults: {auth: mian}", "7:18: there is no auth 'mian'; did you mean 'main'?"),
            (
                "defaults: {auth: main, limits: [clients]}",
                "7:33: there is no limit 'clients'; did you mean 'client'?"
            ),
            (
                "routes: [{name: a, match: {prefix: /}, to: cor}]",
                "8:44: there is no service 'cor'; did you mean 'core'?"
            ),
            (
                "routes: [{name: a, match: {prefix: /}, to: core, auth: other}]",
                "8:56: there is no auth 'other'"
            ),
            (
                "routes: [{name: a, match: {prefix: /}, to: core, limits: [client, x]}]",
                "8:67: there is no limit 'x'"
            ),
            (
                "routes: [{name: a, match: {prefix: /, listeners: [wbe]}, to: core}]",
                "8:51: there is no listener 'wbe'; did you mean 'web'?"
            ),
            (
                "services: {core: {to: [\"http://a:1\"], resilience: slwo}}",
                "6:51: there is no resilience profile 'slwo'; did you mean 'slow'?"
            ),
        ])
    func references(line: String, expected: String) {
        #expect(SampleConfiguration.errors(SampleConfiguration.text(line)) == [expected])
    }
}
