import Config
import YAML

/// A small good configuration, one section a line, of which tests replace single lines.
enum SampleConfiguration {
    static let sections: [(key: String, line: String)] = [
        ("version", "version: 1"),
        ("listeners", "listeners: {web: {bind: [\"127.0.0.1:8080\"]}}"),
        (
            "auth",
            "auth: {main: {jwt: {issuer: https://i.example, audience: [api], keys: {file: jwks.json}}}}"
        ),
        ("limits", "limits: {client: {rate: 100/s}, user: {rate: 5/s, per: subject}}"),
        ("resilience", "resilience: {slow: {timeouts: {request: 5m}}}"),
        ("services", "services: {core: {to: [\"http://127.0.0.1:9002\"]}}"),
        ("defaults", "defaults: {auth: main, limits: [client]}"),
        ("routes", "routes: [{name: all, match: {prefix: /}, to: core}]"),
    ]

    /// The sample with the section of each given line replaced, or the line added at the end; an empty value removes.
    static func text(_ replacements: String...) -> String {
        var lines = sections
        for replacement in replacements {
            let key = String(replacement.prefix { $0 != ":" })
            if let index = lines.firstIndex(where: { $0.key == key }) {
                lines[index].line = replacement
            } else {
                lines.append((key, replacement))
            }
        }
        return lines.map(\.line).filter { !$0.hasSuffix(": -") }.joined(separator: "\n") + "\n"
    }

    static func load(_ text: String, file: String = "conf/x.yaml") -> Result<Configuration, Diagnostics> {
        ConfigLoader.load(text: Array(text.utf8), file: file)
    }

    /// `line:column: message` of each error.
    static func errors(_ text: String) -> [String] {
        switch load(text) {
        case .success: return []
        case .failure(let diagnostics):
            return diagnostics.errors.map { "\($0.place.line):\($0.place.column): \($0.message)" }
        }
    }
}
