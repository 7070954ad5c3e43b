import Config
import Testing

@Suite("Fields that a route edits") struct FieldEditTests {
    private func errors(_ headers: String, _ more: String...) -> [String] {
        let route = "routes: [{name: all, match: {prefix: /}, to: core, headers: \(headers)}]"
        let others = more.first.map { SampleConfiguration.text(route, $0) }
        return SampleConfiguration.errors(others ?? SampleConfiguration.text(route))
    }

    @Test("are kept in the order of the file, in both directions") func order() throws {
        let text = SampleConfiguration.text(
            "routes: [{name: all, match: {prefix: /}, to: core, headers: {request: {set: {X-B: b, X-A: a c}, remove: [X-D, X-C]}, response: {set: {Cache-Control: no-store}}}}]"
        )
        let route = try SampleConfiguration.load(text).get().routes[0]
        #expect(route.requestFields.set.map(\.name) == ["X-B", "X-A"])
        #expect(route.requestFields.set.map(\.value) == ["b", "a c"])
        #expect(route.requestFields.removed == ["X-D", "X-C"])
        #expect(
            route.responseFields.set.map(\.name) == ["Cache-Control"] && route.responseFields.removed == [])
        let plain = try SampleConfiguration.load(SampleConfiguration.text()).get().routes[0]
        #expect(plain.requestFields.set == [] && plain.responseFields.removed == [])
    }

    @Test(
        "RFC 9110 §7.2, §7.6.1, §8.6: what frames, routes, authenticates or belongs to one connection cannot be edited",
        arguments: [
            "Host", "content-length", "Transfer_Encoding", "Connection", "TE", "Trailer", "Upgrade", "Expect",
            "Authorization", "Proxy-Authorization", "X-Forwarded-For", "x_forwarded_proto", "Forwarded",
            "X-Request-ID",
        ])
    func reservedInRequests(name: String) {
        let message = "the field '\(name)' has a meaning of its own and cannot be used here"
        #expect(errors("{request: {set: {\(name): x}}}") == ["8:78: \(message)"])
        #expect(errors("{request: {remove: [\(name)]}}") == ["8:81: \(message)"])
    }

    @Test(
        "the same in answers",
        arguments: [
            "Content-Length", "transfer-encoding", "CONNECTION", "Keep-Alive", "Trailer", "Upgrade",
            "X-Request-ID",
        ])
    func reservedInAnswers(name: String) {
        let message = "the field '\(name)' has a meaning of its own and cannot be used here"
        #expect(errors("{response: {set: {\(name): x}}}") == ["8:79: \(message)"])
        #expect(errors("{response: {remove: [\(name)]}}") == ["8:82: \(message)"])
    }

    @Test("what claims and request ids are written to is the gateway's own") func vouched() {
        let auth =
            "auth: {main: {jwt: {issuer: https://i.example, audience: [api], keys: {file: k}, forward: {X-User-ID: sub}}}}"
        #expect(
            errors("{request: {set: {x_user_id: root}}}", auth) == [
                "8:78: the field 'x_user_id' has a meaning of its own and cannot be used here"
            ])
        #expect(
            errors("{response: {remove: [X-Trace]}}", "request_id: {header: X-Trace}") == [
                "8:82: the field 'X-Trace' has a meaning of its own and cannot be used here"
            ])
    }

    @Test(
        "names are tokens that stand once, values are printable",
        arguments: [
            (
                "{request: {set: {\"a b\": x}}}",
                "8:78: a field name is 1 to 64 letters, digits and '-', found 'a b'"
            ),
            (
                "{request: {set: {X-A: x, x_a: y}}}", "8:86: the field 'x_a' stands here already"
            ),
            ("{request: {set: {X-A: x}, remove: [x-a]}}", "8:96: the field 'x-a' stands here already"),
            (
                "{request: {set: {X-A: \"x\\ry\"}}}",
                "8:83: 'X-A' must not contain control characters, found 'x\\u{d}y'"
            ),
            (
                "{request: {set: {X-A: \" x\"}}}",
                "8:83: the value of 'X-A' must be printable ASCII without space around it, found ' x'"
            ),
            (
                "{request: {set: {X-A: ü}}}",
                "8:83: the value of 'X-A' must be printable ASCII without space around it, found 'ü'"
            ),
            ("{request: {set: {X-A: \"\"}}}", "8:83: 'X-A' must be text, found ''"),
            (
                "{request: {set: [X-A]}}",
                "8:77: set must be a mapping from field names to values, found a list"
            ),
            ("{requests: {}}", "8:62: unknown key 'requests'; did you mean 'request'?"),
            ("{request: {add: {X-A: x}}}", "8:72: unknown key 'add'"),
        ])
    func values(headers: String, expected: String) { #expect(errors(headers) == [expected]) }

    @Test("at most 32 fields and 2 KiB are edited in one direction") func bounds() {
        let names = (0..<33).map { "X-\($0)" }
        let all = names.map { "\($0): x" }.joined(separator: ", ")
        #expect(
            errors("{request: {set: {\(all)}}}") == ["8:71: request edits 33 fields; at most 32 are allowed"])
        let half = names.prefix(16).map { "\($0): x" }.joined(separator: ", ")
        let rest = names.dropFirst(16).joined(separator: ", ")
        #expect(
            errors("{response: {set: {\(half)}, remove: [\(rest)]}}") == [
                "8:72: response edits 33 fields; at most 32 are allowed"
            ])
        let long = String(repeating: "x", count: 2046)
        #expect(
            errors("{request: {set: {X-A: \(long)}}}") == [
                "8:71: request sets 2049 bytes of names and values; at most 2048 are allowed"
            ])
        #expect(errors("{request: {set: {X-A: \(long.dropFirst())}}}") == [])
    }
}
