internal import Synchronization

/// Counts of one service, told as Prometheus text.
public final class ServiceMetrics: Sendable {
    private struct Count {
        var answers: UInt64 = 0
        var microseconds: Int64 = 0
    }

    private let service: String
    private let counts = Mutex<[Int: Count]>([:])

    init(service: String) {
        self.service = service
    }

    func count(status: Int, elapsed: Duration) {
        counts.withLock { counts in
            counts[status, default: Count()].answers &+= 1
            counts[status, default: Count()].microseconds &+= elapsed.microseconds
        }
    }

    /// Prometheus text exposition format 0.0.4.
    /// `gauges`: Named values of this moment, such as the length of a queue. A name may carry labels: `jobs{queue="mail"}`.
    func text(gauges: [String: Int]) -> String {
        let counts = counts.withLock { $0 }
        var lines = ["# TYPE gatehouse_service_answers_total counter"]
        for (status, count) in counts.sorted(by: { $0.key < $1.key }) {
            lines.append(
                "gatehouse_service_answers_total{service=\"\(service)\",status=\"\(status)\"} \(count.answers)"
            )
        }
        lines.append("# TYPE gatehouse_service_answer_seconds summary")
        let microseconds = counts.values.reduce(0) { $0 &+ $1.microseconds }
        let answers = counts.values.reduce(0) { $0 &+ $1.answers }
        lines.append(
            "gatehouse_service_answer_seconds_sum{service=\"\(service)\"} \(Double(microseconds) / 1_000_000)"
        )
        lines.append("gatehouse_service_answer_seconds_count{service=\"\(service)\"} \(answers)")
        var told: Substring?
        for (key, value) in gauges.sorted(by: { $0.key < $1.key }) {
            let name = key.prefix { $0 != "{" }
            let labels = key.dropFirst(name.count + 1).dropLast()
            if name != told { lines.append("# TYPE gatehouse_service_\(name) gauge") }
            told = name
            let all = "service=\"\(service)\"" + (labels.isEmpty ? "" : "," + labels)
            lines.append("gatehouse_service_\(name){\(all)} \(value)")
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
