#if SIMULATION
    internal import Memory

    extension WorkerMetrics {
        /// Exchanges counted under the first `labels` route labels and under none.
        package func exchangeCount(labels: Int) -> Int {
            var sum = 0
            for route in -1..<labels {
                let start = Layout.start(route: route, of: routes)
                for status in 0..<Layout.reasons { sum += counters.load(start + status) }
            }
            return sum
        }

        package var acceptedCount: Int { counters.load(Layout.accepted) }
        package var closedCount: Int { counters.load(Layout.closed) }
        package var logDropCount: Int { counters.load(Layout.logDrops) }
    }
#endif
