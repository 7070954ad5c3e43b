import Memory
import Telemetry
import Testing

@Suite("Labels") struct LabelTests {
    @Test("a name keeps its number, and what finds no room is counted together") func labels() {
        let table = LabelTable(capacity: 3)
        #expect(table.label(for: "core") == 1 && table.label(for: "auth") == 2)
        #expect(table.label(for: "core") == 1 && table.label(for: "third") == LabelTable.other)
        #expect(table.names.name(LabelTable.other).text == "(other)")
    }
}

@Suite("Metrics") struct MetricsTests {
    private func lines(
        _ workers: [WorkerMetrics], _ routes: LabelTable, reasons: [String] = [],
        _ figures: ProcessFigures = ProcessFigures()
    ) -> [String] {
        let bytes = PrometheusText.bytes(
            workers: workers, routes: routes.names, reasons: NameTable(reasons), figures: figures)
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    private func count(
        _ worker: WorkerMetrics, route: Int, status: Int = 200, reason: UInt8 = AccessRecord.noReason,
        microseconds: Int = 1
    ) {
        worker.countExchange(
            route: route, status: status, reason: reason, bytesIn: 10, bytesOut: 100,
            durationMicroseconds: microseconds)
    }

    @Test("are the sums over all workers") func sums() {
        let routes = LabelTable(capacity: 8)
        let documents = routes.label(for: "documents")
        let workers = [WorkerMetrics(routes: 8), WorkerMetrics(routes: 8)]
        count(workers[0], route: documents)
        count(workers[1], route: documents)
        count(workers[1], route: documents, status: 429, reason: 1)
        count(workers[1], route: -1, status: 404, reason: 0)
        count(workers[0], route: LabelTable.other, status: 299)
        workers[0].countConnectionAccepted()
        workers[1].countConnectionAccepted()
        workers[1].countConnectionClosed()
        workers[0].countConnectionRefused()
        workers[0].countHandshake()
        workers[1].count(HandshakeFailure.noSharedCipher)
        workers[1].countLogDrops(5)
        let figures = ProcessFigures(limiterEvictions: 4, logDrops: 2, generation: 9)
        let found = Set(lines(workers, routes, reasons: ["no_route", "rate_limited"], figures))
        for expected in [
            "gatehouse_exchanges_total{route=\"documents\",status=\"200\"} 2",
            "gatehouse_exchanges_total{route=\"documents\",status=\"429\"} 1",
            "gatehouse_exchanges_total{route=\"(none)\",status=\"404\"} 1",
            "gatehouse_exchanges_total{route=\"(other)\",status=\"2xx\"} 1",
            "gatehouse_exchange_reasons_total{route=\"documents\",reason=\"rate_limited\"} 1",
            "gatehouse_exchange_reasons_total{route=\"(none)\",reason=\"no_route\"} 1",
            "gatehouse_received_bytes_total{route=\"documents\"} 30",
            "gatehouse_sent_bytes_total{route=\"documents\"} 300",
            "gatehouse_connections_accepted_total 2", "gatehouse_connections_refused_total 1",
            "gatehouse_worker_exchanges_total{worker=\"0\"} 2",
            "gatehouse_worker_exchanges_total{worker=\"1\"} 3",
            "gatehouse_worker_connections_open{worker=\"0\"} 1",
            "gatehouse_worker_connections_open{worker=\"1\"} 0",
            "gatehouse_connections_open 1", "gatehouse_tls_handshakes_total{result=\"ok\"} 1",
            "gatehouse_tls_handshakes_total{result=\"failed\"} 1",
            "gatehouse_tls_handshake_failures_total{reason=\"no_shared_cipher\"} 1",
            "gatehouse_log_lines_dropped_total 7",
            "gatehouse_limiter_evictions_total 4", "gatehouse_generation 9",
        ] { #expect(found.contains(expected), "\(expected)") }
    }

    @Test(
        "a time is counted in each bucket whose bound it does not pass",
        arguments: [
            (0, "0.0001"), (100, "0.0001"), (101, "0.00025"), (250, "0.00025"), (251, "0.0005"),
            (1000, "0.001"), (1001, "0.0025"), (5000, "0.005"), (10_000, "0.01"), (10_001, "0.025"),
            (50_000, "0.05"), (100_000, "0.1"), (250_000, "0.25"), (250_001, "0.5"), (500_001, "1"),
            (2_500_000, "2.5"), (5_000_000, "5"), (10_000_000, "10"), (10_000_001, "25"), (25_000_001, "50"),
            (50_000_001, "+Inf"), (.max, "+Inf"),
        ])
    func buckets(microseconds: Int, expected: String) throws {
        let routes = LabelTable(capacity: 2)
        let worker = WorkerMetrics(routes: 2)
        count(worker, route: routes.label(for: "a"), microseconds: microseconds)
        let buckets = lines([worker], routes).filter { $0.contains("_bucket{") }
        let first = try #require(buckets.first { $0.hasSuffix(" 1") })
        #expect(first == "gatehouse_exchange_duration_seconds_bucket{route=\"a\",le=\"\(expected)\"} 1")
        #expect(buckets.count == 19 && buckets.last?.hasSuffix("le=\"+Inf\"} 1") == true)
    }

    @Test("every limit has a place of its own, and shows once it was reached") func limits() {
        let workers = [WorkerMetrics(routes: 8), WorkerMetrics(routes: 8)]
        for limit in ReachedLimit.allCases {
            for _ in 0...limit.rawValue { workers[limit.rawValue % 2].count(limit) }
        }
        workers[0].countLogDrops(1000)
        let text = lines(workers, LabelTable(capacity: 8))
        for limit in ReachedLimit.allCases {
            let line = "gatehouse_limits_reached_total{limit=\"\(limit.name)\"} \(limit.rawValue + 1)"
            #expect(text.contains(line))
        }
        #expect(Set(ReachedLimit.allCases.map(\.name)).count == ReachedLimit.allCases.count)
        #expect(
            !lines([WorkerMetrics(routes: 8)], LabelTable(capacity: 8)).contains { $0.contains("{limit=") })
    }

    @Test("every status has exactly one series") func statuses() {
        let routes = LabelTable(capacity: 2)
        let worker = WorkerMetrics(routes: 2)
        let route = routes.label(for: "a")
        for status in 100...599 { count(worker, route: route, status: status) }
        let series = lines([worker], routes).filter { $0.hasPrefix("gatehouse_exchanges_total{") }
        let total = series.compactMap { Int($0.split(separator: " ").last ?? "") }.reduce(0, +)
        #expect(series.count == StatusSlot.count && total == 500)
        for status in [200, 404, 499, 503] {
            #expect(series.contains("gatehouse_exchanges_total{route=\"a\",status=\"\(status)\"} 1"))
        }
        for status in [Int.min, -1, 0, 99, 600, .max] {
            let slot = StatusSlot.slot(of: status)
            #expect(slot == StatusSlot.count - 1)
        }
    }

    @Test("a sum is told in seconds, a name with its escapes (text format 0.0.4)") func format() {
        let routes = LabelTable(capacity: 2)
        let worker = WorkerMetrics(routes: 2)
        count(worker, route: routes.label(for: "a\"b\\c\nd"), microseconds: 1_250_000)
        let found = lines([worker], routes)
        #expect(found.contains(#"gatehouse_exchange_duration_seconds_sum{route="a\"b\\c\nd"} 1.25"#))
        // A comment or a series on each line, and each family described once before its series.
        var families: Set<Substring> = []
        for line in found {
            let words = line.split(separator: " ")
            if words[0] == "#" {
                if words[1] == "TYPE" { #expect(families.insert(words[2]).inserted) }
                continue
            }
            #expect(words.count == 2 && Double(words[1]) != nil && line.hasPrefix("gatehouse_"))
        }
    }

    @Test("hostile numbers do no harm") func hostile() {
        let worker = WorkerMetrics(routes: 2)
        for route in [Int.min, -7, 2, 4096, .max] {
            worker.countExchange(
                route: route, status: .max, reason: 254, bytesIn: .max, bytesOut: .max,
                durationMicroseconds: .max)
        }
        let found = lines([worker], LabelTable(capacity: 2))
        #expect(found.contains("gatehouse_exchange_reasons_total{route=\"(none)\",reason=\"(other)\"} 5"))
    }
}
