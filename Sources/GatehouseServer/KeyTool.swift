import Config
import Cryptography
import JWT
import LinuxIO
import Memory
import Reactor
import TLS
import YAML

/// What `gatehouse jwks` says and does.
public enum KeyTool {
    /// Text for standard output, and whether every issuer is well.
    public struct Report: Sendable {
        /// What is wrong with the configuration itself.
        public private(set) var errors: String?
        public private(set) var text = ""
        public private(set) var isWell = true

        fileprivate mutating func refuse(_ diagnostics: Diagnostics) {
            errors = diagnostics.description
            isWell = false
        }

        fileprivate mutating func say(_ line: String, isWell: Bool = true) {
            text += line + "\n"
            if !isWell { self.isWell = false }
        }
    }

    private static func report(
        _ file: String, _ work: (Configuration, inout Report) -> Void
    ) -> Report {
        var report = Report()
        switch ConfigurationFile.load(file) {
        case .failure(let errors): report.refuse(errors)
        case .success(let configuration):
            work(configuration, &report)
            if configuration.issuers.isEmpty { report.say("the configuration names no issuer") }
        }
        return report
    }

    /// The keys that each issuer's file, or cache file, has now.
    public static func show(_ file: String) -> Report { report(file, list) }

    private static func list(_ configuration: Configuration, _ report: inout Report) {
        for issuer in configuration.issuers {
            let source = KeySource(issuer, cell: -1)
            let path: String
            switch issuer.keys {
            case .file(let file):
                path = file.value
                report.say("\(source.issuer): file \(path)")
            case .url(let fetched):
                report.say("\(source.issuer): \(fetched.url.value.text)")
                guard let file = fetched.cacheFile?.value else {
                    report.say(
                        "  without cache_file nothing is kept here; a running gateway has its keys alone")
                    continue
                }
                path = file
                report.say("  kept in \(path)")
            }
            do {
                let bytes = try Files.read(path, limit: KeySet.mostBytes)
                if let state = try? Files.state(path) { report.say("  \(age(since: state.written))") }
                list(bytes, source, &report)
            } catch {
                report.say("  cannot read it: \(error.text)", isWell: false)
            }
        }
    }

    private static func age(since written: UInt64) -> String {
        let now = Clock.wall()
        let seconds = (now - min(now, written)) / 1_000_000_000
        if seconds < 120 { return "\(seconds) s old" }
        if seconds < 7200 { return "\(seconds / 60) min old" }
        return seconds < 172_800 ? "\(seconds / 3600) h old" : "\(seconds / 86400) days old"
    }

    private static func list(_ bytes: [UInt8], _ source: KeySource, _ report: inout Report) {
        do throws(KeySetError) {
            let keys = try KeySet.describe(bytes.rawSpan, algorithms: source.algorithms)
            var rows = [["kid", "kty", "alg", "bits", "usable"]]
            for key in keys {
                let usable = key.flaw.map { "no: \($0)" } ?? "for \(key.usable.joined(separator: ", "))"
                rows.append([
                    key.kid.isEmpty ? "-" : shown(key.kid), shown(key.kty),
                    key.algorithm.isEmpty ? "-" : shown(key.algorithm), key.bits.map { "\($0)" } ?? "-",
                    usable,
                ])
            }
            let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
            for row in rows {
                let cells = row.indices.map { column in
                    let room = column == row.count - 1 ? 0 : widths[column] - row[column].count
                    return row[column] + String(repeating: " ", count: room)
                }
                report.say("  " + cells.joined(separator: "  "))
            }
        } catch {
            report.say("  \(error.description)", isWell: false)
            return
        }
        if let flaw = KeyMaterial.flaw(in: bytes, of: source) {
            report.say("  the gateway does not take this set: \(flaw)", isWell: false)
        }
    }

    /// A key set is somebody else's text: what a terminal would obey is not printed.
    private static func shown(_ text: String) -> String {
        String(
            text.unicodeScalars.prefix(64).map { $0.value < 0x20 || $0.value == 0x7f ? "?" : Character($0) })
    }

    // MARK: - Refreshing

    /// Fetches each set that has a URL, and writes those that are good to their cache files, where a running gateway finds them.
    public static func refresh(_ file: String) -> Report { report(file, refreshAll) }

    private static func refreshAll(_ configuration: Configuration, _ report: inout Report) {
        for issuer in configuration.issuers {
            guard case .url(let fetched) = issuer.keys else {
                report.say("\(issuer.name.value): a file, nothing to fetch")
                continue
            }
            refresh(KeySource(issuer, cell: -1), fetched, &report)
        }
    }

    private static func refresh(
        _ source: KeySource, _ fetched: FetchedKeySettings, _ report: inout Report
    ) {
        let answer: KeyAnswer
        do throws(KeyFetchFailure) {
            answer = try fetch(fetched.url.value)
        } catch {
            report.say("\(source.issuer): \(error.text)", isWell: false)
            return
        }
        if let flaw = KeyMaterial.flaw(in: answer.bytes, of: source) {
            report.say("\(source.issuer): \(KeyFetchFailure.invalid(flaw).text)", isWell: false)
            return
        }
        guard let path = fetched.cacheFile?.value else {
            report.say("\(source.issuer): the issuer gives a good set; without cache_file it is not kept")
            return
        }
        do throws(SystemError) {
            try Files.replace(path, with: answer.bytes.rawSpan)
            report.say("\(source.issuer): fetched and written to \(path)")
        } catch {
            report.say("\(source.issuer): cannot write \(path): \(error.text)", isWell: false)
        }
    }

    private static func fetch(_ url: KeyURL) throws(KeyFetchFailure) -> KeyAnswer {
        let addresses = try KeyFetch.addresses(of: url, while: { true })
        let client = try KeyFetch.client(for: url)
        var loop: EventLoop
        do throws(SystemError) {
            loop = try EventLoop(timers: 8, pending: 8)
        } catch {
            throw .own(error.text)
        }
        var errand = KeyErrand(
            fetch: KeyFetch(url: url, source: 0, addresses: addresses, client: client),
            token: Token(kind: 1, id: .none))
        errand.begin(&loop)
        if errand.outcome == .waiting { loop.run(&errand) }
        switch errand.outcome {
        case .done(let answer): return answer
        case .failed(let failure): throw failure
        case .waiting: throw .timeout
        }
    }
}

/// One fetch with a loop for itself.
private struct KeyErrand: ~Copyable, EventHandler {
    var fetch: KeyFetch
    let token: Token
    var outcome = KeyFetch.Step.waiting
    let blocks = BlockPool(limit: 256, keep: 4)

    init(fetch: consuming KeyFetch, token: Token) {
        self.fetch = fetch
        self.token = token
    }

    mutating func begin(_ loop: inout EventLoop) {
        fetch.timer = loop.timers.schedule(token, at: loop.now + KeyFetch.timeLimit) ?? .none
        outcome = fetch.connect(token, &loop)
    }

    mutating func ready(_ token: Token, _ readiness: Readiness, _ loop: inout EventLoop) {
        outcome = fetch.ready(token, from: blocks, &loop)
        if outcome != .waiting { loop.stop() }
    }

    mutating func timerFired(_ token: Token, _ loop: inout EventLoop) {
        outcome = .failed(.timeout)
        loop.stop()
    }

    mutating func resume(_ token: Token, _ loop: inout EventLoop) {}
    mutating func mail(_ loop: inout EventLoop) {}
    mutating func turnEnded(_ loop: inout EventLoop) {}
}
