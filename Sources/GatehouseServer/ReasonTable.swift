internal import Config
internal import Proxy

/// The registry of reasons, as people read it: `gatehouse reasons`, and the article of the documentation.
public enum ReasonTable {
    public enum Format: String, CaseIterable, Sendable { case text, markdown, json }

    /// All reasons, by status and then in the registry's order.
    public static func all(_ format: Format) -> String {
        let reasons = Refusal.allCases.map(Row.init).enumerated()
            .sorted { ($0.element.status, $0.offset) < ($1.element.status, $1.offset) }.map(\.element)
        switch format {
        case .text:
            let width = reasons.map(\.name.utf8.count).max() ?? 0
            return reasons.map {
                let gap = String(repeating: " ", count: width - $0.name.utf8.count + 2)
                return "\($0.status)  \($0.name)\(gap)\($0.title)\n"
            }.joined()
        case .markdown: return article(reasons)
        case .json: return "[\n" + reasons.map { "  " + $0.json }.joined(separator: ",\n") + "\n]\n"
        }
    }

    /// One reason by its name; `nil` when there is none of that name.
    public static func one(_ name: String, _ format: Format) -> String? {
        guard let row = Refusal.allCases.lazy.map(Row.init).first(where: { $0.name == name }) else {
            return nil
        }
        switch format {
        case .text:
            var text = "\(row.name): \(row.title)\n\nStatus:      \(row.statusText)\n"
            if row.retryAfterSeconds > 0 { text += "Retry-After: \(row.retryAfterSeconds) s or more\n" }
            return text + "Type:        \(row.type)\nWhat to do:  \(row.advice)\n"
        case .markdown: return row.markdown
        case .json: return row.json + "\n"
        }
    }

    /// `; did you mean 'x'?`, or nothing.
    public static func suggestion(for name: String) -> String {
        var spelling = Spelling()
        return spelling.suggestion(for: name, among: Refusal.allCases.map { "\($0.name)" })
    }

    private static func article(_ rows: [Row]) -> String {
        """
        # Reasons

        Why the gateway itself answered, or why an exchange failed: a closed list.

        ## Overview

        The name stands in the body of the answer (`application/problem+json`, RFC 9457) as `reason` and at the end of `type`,
        in the access line as `reason`, and in the metric `gatehouse_exchange_reasons_total` as a label. It never changes its
        meaning. `gatehouse reasons NAME` says the same as this article, which is its output: `gatehouse reasons --format
        markdown`. Where an answer had begun already, its status stands, and so does that of a tunnel (101).

        ## Reasons


        """ + rows.map(\.markdown).joined(separator: "\n")
    }

    /// One reason as text.
    private struct Row {
        let name: String
        let status: Int
        let title: String
        let advice: String
        let retryAfterSeconds: Int
        let isSent: Bool

        init(_ refusal: Refusal) {
            let told = refusal.told
            name = "\(told.name)"
            status = told.status
            title = "\(told.title)"
            advice = "\(told.advice)"
            retryAfterSeconds = told.retryAfterSeconds
            isSent = told.isSent
        }

        var type: String { "\(Refusal.typePrefix)\(name)" }
        var statusText: String {
            isSent ? "\(status)" : "\(status), for the log: it comes too late to be sent"
        }

        var markdown: String {
            let wait = retryAfterSeconds > 0 ? ", with `Retry-After`" : ""
            return "### `\(name)`\n\n\(title) (\(statusText)\(wait)). \(advice)\n"
        }

        /// Its texts need no escapes, which ProxyTests sees to.
        var json: String {
            "{\"name\":\"\(name)\",\"status\":\(status),\"type\":\"\(type)\",\"title\":\"\(title)\","
                + "\"advice\":\"\(advice)\",\"retry_after\":\(retryAfterSeconds),\"is_sent\":\(isSent)}"
        }
    }
}
