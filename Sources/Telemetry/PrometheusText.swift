public import Memory

/// Figures of the process that no worker counts.
public struct ProcessFigures: Sendable {
    /// `LimitTable.evictions`.
    public var limiterEvictions: Int
    /// Lines that were lost behind the workers: they could not be written.
    public var logDrops: Int
    /// Of the configuration that runs.
    public var generation: Int

    public init(limiterEvictions: Int = 0, logDrops: Int = 0, generation: Int = 0) {
        self.limiterEvictions = limiterEvictions
        self.logDrops = logDrops
        self.generation = generation
    }
}

/// The sums over all workers, and what each has of connections and exchanges, in the text format of Prometheus, version 0.0.4 (the content type is
/// `text/plain; version=0.0.4`). Cold: the admin thread writes it, while workers count on.
///
/// A series appears when its count is above 0, and never goes away again. Labels in brackets are ours: `(other)` for
/// names that found no room, `(none)` for exchanges that no route took.
public struct PrometheusText {
    private let workers: [WorkerMetrics]
    /// How many routes the workers have counters for; the exchanges of none stand behind them.
    private let capacity: Int
    private let routeNames: [String]
    private let reasonNames: [String]
    private var text = ""

    /// The whole text. All workers must have been made for as many routes.
    public static func bytes(
        workers: [WorkerMetrics], routes: NameTable, reasons: NameTable, figures: ProcessFigures
    ) -> [UInt8] {
        var writer = PrometheusText(workers: workers, routes: routes, reasons: reasons)
        writer.write(figures)
        return Array(writer.text.utf8)
    }

    private init(workers: [WorkerMetrics], routes: NameTable, reasons: NameTable) {
        self.workers = workers
        capacity = workers.map(\.routes).min() ?? 0
        precondition(capacity <= routes.capacity)
        // Those that have no name yet are not even looked at.
        var names = (0..<min(capacity, routes.count)).map { routes.name($0).text }
        names.append("(none)")
        routeNames = names.map(Self.escaped)
        reasonNames = (0..<reasons.count).map { Self.escaped(reasons.name($0).text) }
    }

    /// The exposition format escapes backslash, quote and line feed in a label's value, and nothing else.
    public static func escaped(_ value: String) -> String {
        var result = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\"": result += "\\\""
            case "\n": result += "\\n"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private func sum(_ index: Int) -> Int { workers.reduce(0) { $0 &+ $1.counters.load(index) } }

    private func start(_ position: Int) -> Int {
        WorkerMetrics.Layout.start(route: position < routeNames.count - 1 ? position : capacity, of: capacity)
    }

    private mutating func family(_ name: String, _ kind: String, _ about: String) {
        text += "# HELP \(name) \(about)\n# TYPE \(name) \(kind)\n"
    }

    private mutating func single(_ name: String, _ kind: String, _ about: String, _ value: Int) {
        family(name, kind, about)
        text += "\(name) \(value)\n"
    }

    private mutating func write(_ figures: ProcessFigures) {
        // Only routes that ever had an exchange.
        let used = routeNames.indices.filter { position in
            (0..<LatencyBuckets.count).contains {
                sum(start(position) + WorkerMetrics.Layout.buckets + $0) > 0
            }
        }
        writeExchanges(used)
        writeBytes(used)
        writeDurations(used)
        writeConnections()
        writeShares(used)
        writeLimits()
        single(
            "gatehouse_log_lines_dropped_total", "counter",
            "Access lines that found the log's queue full, or could not be written.",
            sum(WorkerMetrics.Layout.logDrops) + figures.logDrops)
        single(
            "gatehouse_limiter_evictions_total", "counter", "Buckets forgotten before they were full again.",
            figures.limiterEvictions)
        single("gatehouse_generation", "gauge", "Number of the running configuration.", figures.generation)
    }

    private mutating func writeExchanges(_ used: [Int]) {
        family("gatehouse_exchanges_total", "counter", "Exchanges that ended, by route and status.")
        for position in used {
            for slot in 0..<StatusSlot.count {
                let count = sum(start(position) + slot)
                guard count > 0 else { continue }
                text += "gatehouse_exchanges_total{route=\"\(routeNames[position])\","
                text += "status=\"\(StatusSlot.label(slot))\"} \(count)\n"
            }
        }
        family(
            "gatehouse_exchange_reasons_total", "counter",
            "Exchanges that the gateway answered itself or that failed, by route and reason.")
        for position in used {
            for reason in 0..<WorkerMetrics.reasonCapacity {
                let count = sum(start(position) + WorkerMetrics.Layout.reasons + reason)
                guard count > 0 else { continue }
                let name = reason < reasonNames.count ? reasonNames[reason] : "(other)"
                text += "gatehouse_exchange_reasons_total{route=\"\(routeNames[position])\","
                text += "reason=\"\(name)\"} \(count)\n"
            }
        }
    }

    private mutating func writeBytes(_ used: [Int]) {
        for (name, about, index) in [
            ("gatehouse_received_bytes_total", "Bytes of requests.", WorkerMetrics.Layout.bytesIn),
            ("gatehouse_sent_bytes_total", "Bytes of responses.", WorkerMetrics.Layout.bytesOut),
        ] {
            family(name, "counter", about)
            for position in used {
                text += "\(name){route=\"\(routeNames[position])\"} \(sum(start(position) + index))\n"
            }
        }
    }

    private mutating func writeDurations(_ used: [Int]) {
        let name = "gatehouse_exchange_duration_seconds"
        family(name, "histogram", "From the first byte of the request to the last of the response.")
        for position in used {
            let route = routeNames[position]
            var count = 0
            for bucket in 0..<LatencyBuckets.count {
                count += sum(start(position) + WorkerMetrics.Layout.buckets + bucket)
                let bound =
                    bucket < LatencyBuckets.bounds.count
                    ? Self.seconds(LatencyBuckets.bounds[bucket]) : "+Inf"
                text += "\(name)_bucket{route=\"\(route)\",le=\"\(bound)\"} \(count)\n"
            }
            let total = sum(start(position) + WorkerMetrics.Layout.durationSum)
            text += "\(name)_sum{route=\"\(route)\"} \(Self.seconds(total))\n"
            text += "\(name)_count{route=\"\(route)\"} \(count)\n"
        }
    }

    private mutating func writeConnections() {
        let accepted = sum(WorkerMetrics.Layout.accepted)
        single("gatehouse_connections_accepted_total", "counter", "Connections taken in.", accepted)
        single(
            "gatehouse_connections_refused_total", "counter", "Connections closed at once, at a cap.",
            sum(WorkerMetrics.Layout.refused))
        single(
            "gatehouse_proxy_preambles_refused_total", "counter",
            "Connections closed for want of a valid PROXY protocol preamble from a trusted proxy.",
            sum(WorkerMetrics.Layout.preamblesRefused))
        // Workers count on while we read: a close may be seen whose accept was not.
        single(
            "gatehouse_connections_open", "gauge", "Connections that are open.",
            max(0, accepted - sum(WorkerMetrics.Layout.closed)))
        family("gatehouse_tls_handshakes_total", "counter", "TLS handshakes that ended, by result.")
        text += "gatehouse_tls_handshakes_total{result=\"ok\"} \(sum(WorkerMetrics.Layout.handshakes))\n"
        text += "gatehouse_tls_handshakes_total{result=\"failed\"} "
        text += "\(sum(WorkerMetrics.Layout.failedHandshakes))\n"
        family(
            "gatehouse_tls_handshake_failures_total", "counter",
            "TLS handshakes with clients that failed, by reason.")
        for failure in HandshakeFailure.allCases {
            let count = sum(WorkerMetrics.Layout.handshakeFailures + failure.rawValue)
            guard count > 0 else { continue }
            text += "gatehouse_tls_handshake_failures_total{reason=\"\(failure.name)\"} \(count)\n"
        }
    }

    /// Whether the load is spread over the workers.
    private mutating func writeShares(_ used: [Int]) {
        family("gatehouse_worker_exchanges_total", "counter", "Exchanges that ended, by worker.")
        for (number, worker) in workers.enumerated() {
            var count = 0
            for position in used {
                for slot in 0..<StatusSlot.count { count &+= worker.counters.load(start(position) + slot) }
            }
            text += "gatehouse_worker_exchanges_total{worker=\"\(number)\"} \(count)\n"
        }
        family("gatehouse_worker_connections_open", "gauge", "Connections that are open, by worker.")
        for (number, worker) in workers.enumerated() {
            let accepted = worker.counters.load(WorkerMetrics.Layout.accepted)
            let open = max(0, accepted - worker.counters.load(WorkerMetrics.Layout.closed))
            text += "gatehouse_worker_connections_open{worker=\"\(number)\"} \(open)\n"
        }
    }

    private mutating func writeLimits() {
        family(
            "gatehouse_limits_reached_total", "counter",
            "Requests refused, and connections and streams cut or closed, by the limit that was reached.")
        for limit in ReachedLimit.allCases {
            let count = sum(WorkerMetrics.Layout.limits + limit.rawValue)
            if count > 0 { text += "gatehouse_limits_reached_total{limit=\"\(limit.name)\"} \(count)\n" }
        }
    }

    /// Microseconds as seconds: `0.00025`, `1`, `2.5`.
    static func seconds(_ microseconds: Int) -> String {
        let rest = microseconds % 1_000_000
        guard rest > 0 else { return "\(microseconds / 1_000_000)" }
        var digits = String(rest)
        digits = String(repeating: "0", count: 6 - digits.count) + digits
        while digits.hasSuffix("0") { digits.removeLast() }
        return "\(microseconds / 1_000_000).\(digits)"
    }
}
