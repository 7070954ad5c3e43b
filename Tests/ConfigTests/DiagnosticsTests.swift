import Config
import Testing
import YAML

@Suite("All errors are told at once") struct DiagnosticsTests {
    private func lines(_ text: String) -> String {
        switch SampleConfiguration.load(text, file: "conf/gatehouse.yaml") {
        case .success: return ""
        case .failure(let diagnostics): return diagnostics.description
        }
    }

    @Test("One line an error, in the order of places, those of the text among those of the model")
    func sorted() {
        let text = """
            version: 1
            listeners: {web: {bind: ["127.0.0.1:8080"], connections: &c {max: lots}}}
            auth: *c
            limits:
              client: {rate: 0/s}
            services:
              core: {to: ["http://127.0.0.1:9002"], upstrem: 1, health: {}}
              core: {to: []}
            routes:
              - {name: all, match: {prefix: x}, to: cor}
            """
        #expect(
            lines(text) == """
                conf/gatehouse.yaml:2:58: error: anchors ('&name') are refused
                conf/gatehouse.yaml:2:67: error: max must be a number, found 'lots'
                conf/gatehouse.yaml:3:7: error: aliases ('*name') are refused; write the value out
                conf/gatehouse.yaml:5:18: error: rate must be from 1/s to 1000000/s, found '0/s'
                conf/gatehouse.yaml:7:41: error: unknown key 'upstrem'
                conf/gatehouse.yaml:7:53: error: 'health' is not built yet in this version
                conf/gatehouse.yaml:8:3: error: duplicate key 'core'; it stands at 7:3 already
                conf/gatehouse.yaml:10:5: error: a route without 'auth' needs 'auth' in defaults; write 'auth: none' to let anybody in
                conf/gatehouse.yaml:10:33: error: prefix must begin with '/', found 'x'
                conf/gatehouse.yaml:10:41: error: there is no service 'cor'; did you mean 'core'?
                """)
    }

    @Test(
        "A text that is not YAML, or no mapping, is one error",
        arguments: [
            ("", "conf/gatehouse.yaml:1:1: error: the file is empty"),
            (
                "a: b: c",
                "conf/gatehouse.yaml:1:5: error: not valid YAML: mapping values are not allowed in this context"
            ),
            ("[]", "conf/gatehouse.yaml:1:1: error: a configuration must be a mapping, found a list"),
            ("---", "conf/gatehouse.yaml:2:1: error: a configuration must be a mapping, found nothing"),
            ("*a", "conf/gatehouse.yaml:1:1: error: aliases ('*name') are refused; write the value out"),
        ])
    func notAMapping(text: String, expected: String) {
        #expect(lines(text) == expected)
    }

    @Test("A thousand errors print a hundred lines and a count")
    func bounded() {
        let text = (0..<1000).map { "k\($0): 1\n" }.joined()
        let printed = lines(text).split(separator: "\n")
        #expect(printed.count == 101)
        // The four keys that must be there are missing as well.
        #expect(printed.last == "conf/gatehouse.yaml: error: 904 more errors are not shown")
    }

    @Test("The bounds on lists are named in their errors")
    func listBounds() {
        let limits = (0..<9).map { "l\($0): {rate: 1/s}" }.joined(separator: ", ")
        let names = (0..<9).map { "l\($0)" }.joined(separator: ", ")
        let text = SampleConfiguration.text(
            "limits: {\(limits)}", "defaults: {auth: main, limits: [\(names)]}")
        #expect(SampleConfiguration.errors(text) == ["7:32: limits has 9 entries; at most 8 are allowed"])
        let services = (0..<1025).map { "s\($0): {to: [\"http://a\"]}" }.joined(separator: ", ")
        let many = SampleConfiguration.text("services: {core: {to: [\"http://a\"]}, \(services)}")
        #expect(
            SampleConfiguration.errors(many) == ["6:11: services has 1026 entries; at most 1024 are allowed"])
    }

    @Test("Two listeners, or a listener and admin, on one address are an error at the later one")
    func addresses() {
        let listeners = "listeners: {a: {bind: [\"127.0.0.1:1\"]}, b: {bind: [\"127.0.0.1:1\"]}}"
        #expect(
            SampleConfiguration.errors(SampleConfiguration.text(listeners)) == [
                "2:52: '127.0.0.1:1' is listened on already, at 2:24"
            ])
        #expect(
            SampleConfiguration.errors(SampleConfiguration.text("admin: {listen: 127.0.0.1:8080}")) == [
                "9:17: '127.0.0.1:8080' is listened on already, at 2:26"
            ])
        let chosenByKernel = "listeners: {a: {bind: [\"127.0.0.1:0\"]}, b: {bind: [\"127.0.0.1:0\"]}}"
        #expect(SampleConfiguration.errors(SampleConfiguration.text(chosenByKernel)).isEmpty)
    }
}
