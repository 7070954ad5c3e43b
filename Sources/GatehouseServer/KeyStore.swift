import Config
import Cryptography
import JWT
import LinuxIO
import Memory
import Synchronization

/// One issuer's place for keys. The same across reloads that leave it as it is.
struct KeySource: Sendable, Equatable {
    /// The name of its entry under `auth`.
    let issuer: String
    let settings: KeySettings
    /// What its keys are for. A reload may change that without their coming from elsewhere.
    let algorithms: SignatureAlgorithms
    /// Index of its two cells among those that workers look at; -1 for a file, which nobody waits for.
    let cell: Int
    /// Of all that says where its keys come from.
    let identity: UInt64

    init(_ issuer: Config.IssuerSettings, cell: Int) {
        self.issuer = issuer.name.value
        settings = issuer.keys
        algorithms = issuer.signatureAlgorithms
        self.cell = cell
        var text = issuer.name.value
        switch settings {
        case .file(let path): text += "\0file\0" + path.value
        case .url(let fetched):
            text += "\0url\0\(fetched.url.value.text)\0\(fetched.cacheFile?.value ?? "")"
        }
        identity = SipHash(key0: 0x6b65_7973, key1: 0x666f_756e).hash64(Array(text.utf8).rawSpan)
    }

    static func == (left: KeySource, right: KeySource) -> Bool { left.identity == right.identity }

    /// For logs: the file or the URL.
    var place: (name: String, value: String) {
        switch settings {
        case .file(let path): ("file", path.value)
        case .url(let fetched): ("url", fetched.url.value.text)
        }
    }

    var fetched: FetchedKeySettings? {
        guard case .url(let fetched) = settings else { return nil }
        return fetched
    }
}

/// A key set as bytes, and what is known of them.
struct KeyMaterial: Sendable {
    let source: KeySource
    /// Empty where there is no set.
    var bytes: [UInt8] = []
    /// When the issuer last gave it, or its file was written; nanoseconds since 1970.
    var takenWall: UInt64 = 0
    /// The state in which the file, or the cache file, was read or written last.
    var fileState: Files.State?
    /// Why the issuer's last answer was none, or the file's last content is not used.
    var failure: String?

    var digest: SHA256Digest {
        var sha = SHA256()
        return sha.hash(bytes.rawSpan)
    }

    /// Why bytes are not to be used, `nil` where they are.
    static func flaw(in bytes: [UInt8], of source: KeySource) -> String? {
        do throws(KeySetError) {
            _ = try KeySet(file: bytes.rawSpan, algorithms: source.algorithms)
            return nil
        } catch {
            return error.description
        }
    }

    /// The last good set of a source that is fetched, from its cache file. What is wrong with the file is told, not thrown: the
    /// issuer has the set too.
    static func cached(_ source: KeySource, wall: UInt64) -> KeyMaterial {
        var material = KeyMaterial(source: source)
        guard let fetched = source.fetched, let path = fetched.cacheFile?.value,
            let state = try? Files.state(path)
        else { return material }
        material.fileState = state
        let age = wall - min(wall, state.written)
        guard age <= UInt64(fetched.keepNanoseconds) else {
            material.failure = "the set in '\(path)' is older than keep_if_unreachable"
            return material
        }
        do {
            let bytes = try Files.read(path, limit: KeySet.mostBytes)
            if let flaw = flaw(in: bytes, of: source) {
                material.failure = "'\(path)': \(flaw)"
            } else {
                material.bytes = bytes
                material.takenWall = min(state.written, wall)
            }
        } catch {
            material.failure = "cannot read '\(path)': \(error.text)"
        }
        return material
    }
}

/// The key sets that the process has, by their source. Any thread; nothing is read, written or waited for under its lock.
final class KeyStore: Sendable {
    private struct State {
        var materials: [KeyMaterial] = []
        /// Fetches that ended, by issuer and result.
        var fetches: [String: [String: Int]] = [:]
    }

    private let state = Mutex(State())

    var materials: [KeyMaterial] { state.withLock { $0.materials } }

    func material(of identity: UInt64) -> KeyMaterial? {
        state.withLock { $0.materials.first { $0.source.identity == identity } }
    }

    /// The sources of a configuration that runs now; what is no longer among them is forgotten. Of a source that is fetched, what
    /// came meanwhile is newer than what the configuration was built with.
    func adopt(_ built: [KeyMaterial]) {
        state.withLock { state in
            state.materials = built.map { new in
                guard let old = state.materials.first(where: { $0.source == new.source }),
                    old.source.fetched != nil, old.takenWall > new.takenWall
                else { return new }
                var kept = new
                kept.bytes = old.bytes
                kept.takenWall = old.takenWall
                kept.fileState = old.fileState
                kept.failure = old.failure
                return kept
            }
        }
    }

    /// Takes down a change of one source. `false` when no configuration names it any more.
    func update(_ identity: UInt64, _ change: (inout KeyMaterial) -> Void) -> Bool {
        state.withLock { state in
            guard let index = state.materials.firstIndex(where: { $0.source.identity == identity }) else {
                return false
            }
            change(&state.materials[index])
            return true
        }
    }

    func count(_ result: String, of issuer: String) {
        state.withLock { $0.fetches[issuer, default: [:]][result, default: 0] += 1 }
    }

    /// Names of issuers without any key.
    var missing: [(issuer: String, failure: String)] {
        materials.filter(\.bytes.isEmpty).map { ($0.source.issuer, $0.failure ?? "not fetched yet") }
    }

    /// In the text format of Prometheus.
    func metrics(wall: UInt64) -> String {
        let (materials, fetches) = state.withLock { ($0.materials, $0.fetches) }
        var text =
            "# HELP gatehouse_key_fetches_total Fetches of key sets that ended, by issuer and result.\n"
            + "# TYPE gatehouse_key_fetches_total counter\n"
        for (issuer, results) in fetches.sorted(by: { $0.key < $1.key }) {
            for (result, count) in results.sorted(by: { $0.key < $1.key }) {
                text += "gatehouse_key_fetches_total{issuer=\"\(issuer)\",result=\"\(result)\"} \(count)\n"
            }
        }
        text +=
            "# HELP gatehouse_key_set_age_seconds Since the issuer gave its key set, or the file was written.\n"
            + "# TYPE gatehouse_key_set_age_seconds gauge\n"
        for material in materials where !material.bytes.isEmpty {
            let age = (wall - min(wall, material.takenWall)) / 1_000_000_000
            text += "gatehouse_key_set_age_seconds{issuer=\"\(material.source.issuer)\"} \(age)\n"
        }
        return text
    }
}

/// When a key set is fetched next. Nanoseconds.
enum KeySchedule {
    /// An issuer that says `max-age=0` is not asked in each turn, and one that says a year is asked each hour: a key that has
    /// been taken back must not be good for that long.
    static let leastInterval: UInt64 = 10_000_000_000
    static let mostInterval: UInt64 = 3_600_000_000_000
    /// After a failure: so long, then twice as long, up to a minute and to `refresh`.
    static let firstRetry: UInt64 = 1_000_000_000
    static let mostRetry: UInt64 = 60_000_000_000

    /// `refresh` holds where the issuer says nothing.
    static func interval(refresh: UInt64, maxAgeSeconds: Int?) -> UInt64 {
        guard let maxAgeSeconds else { return refresh }
        let said = UInt64(min(max(maxAgeSeconds, 0), Int(Int32.max))) * 1_000_000_000
        return min(max(said, leastInterval), mostInterval)
    }

    /// After so many failures in a row, at least one.
    static func retry(refresh: UInt64, failures: Int) -> UInt64 {
        min(firstRetry << UInt64(min(max(failures - 1, 0), 6)), mostRetry, max(refresh, firstRetry))
    }
}
