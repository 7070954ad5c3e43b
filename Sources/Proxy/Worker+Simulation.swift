#if SIMULATION
    import HTTP2
    package import Memory
    import Upstreams

    // What the simulation counts when all is over, and its hand on the pool. See Tests/SimulationTests and
    // Tests/Fuzz/HTTP2Exchange.
    extension Worker {
        package var openConnections: Int { downstreams.count }
        package var openServiceConnections: Int { pools.connections.count }
        package var openExchanges: Int { exchanges.count }
        package var heldSnapshots: Int { snapshots.count }
        package var heldBlocks: Int { blocks.outstanding }
        /// Without the two that are scratch for life.
        package var heldLargeBlocks: Int { largeBlocks.outstanding - 2 }
        package var heldNotes: Int { notes.outstanding }
        /// Timers that are nobody's but the pools': one, while they hold blocks that may not be needed.
        package var trimTimers: Int { isTrimming ? 1 : 0 }
        /// Blocks that are kept unused, but for those that are kept for good.
        package var hasSurplus: Bool { blocks.hasSurplus || notes.hasSurplus }
        /// Of all sessions together, and the scratch in which heads are built.
        package var heldHTTP2Bytes: Int { http2Workspace.bytesInUse }

        /// Takes blocks away until `count` are left, as a worker with a small budget would find it.
        package func hoard(leaving count: Int, in queue: inout ByteQueue) {
            while blocks.canTake(count + 1), var block = blocks.take() {
                block.append(0)
                queue.append(block)
            }
        }
    }

    /// How often each pair of phase and event was met, over all workers of the process.
    package enum MachineVisits {
        private static let counts = CounterBlock(count: 5 * 16)
        package static let phases = ["leasing", "waiting", "streaming", "tunnelling", "finished"]
        package static let events = [
            "connected", "connectFailed", "requestEnded", "upstreamLost", "responseHead", "responseEnded",
            "responseBroken", "upstreamTimedOut", "refused", "clientLost", "tunnelOpened",
        ]

        static func note(_ phase: ExchangeMachine.Phase, _ event: ExchangeMachine.Event) {
            let index =
                switch event {
                case .connected: 0
                case .connectFailed: 1
                case .requestEnded: 2
                case .upstreamLost: 3
                case .responseHead: 4
                case .responseEnded: 5
                case .responseBroken: 6
                case .upstreamTimedOut: 7
                case .refused: 8
                case .clientLost: 9
                case .tunnelOpened: 10
                }
            counts.add(1, at: Int(phase.rawValue) * 16 + index)
        }

        package static func count(phase: Int, event: Int) -> Int { counts.load(phase * 16 + event) }
    }
#endif
